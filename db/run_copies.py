"""Copies of kept crops in the working folders of training runs, and their end.

    <data folder>/runs/<run>/crops/<last two digits>/<crop>.png
                             redrawn/<last two digits>/<crop>.<n>.png

A trainer reads crops from a folder of its run. So bytes of faces lie there that no row names, on
the machine that trains, which may be another one than that which erases an item. Names carry the
crop's number: whatever has no row any more can be told and removed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from sqlalchemy import select

from core.vocabulary import RunState
from db.session import Database
from db.tables import Crop, TrainingRun

#: Below the data folder.
RUNS = "runs"
#: Folders of a run with pictures of faces.
_KINDS = ("crops", "redrawn")
_NAME = re.compile(r"(?P<crop>[0-9]{1,19})\.")
#: Numbers that one question to the database names.
_PAGE = 5_000


def folder(data_dir: Path, run_id: int) -> Path:
    """Where a run's crops and checkpoints lie."""
    return data_dir / RUNS / str(run_id)


def file_of(crop_id: int) -> str:
    """Where a crop is copied to, below the folder of its run."""
    return f"crops/{crop_id % 100:02}/{crop_id}.png"


def of_crops(data_dir: Path, crop_ids: Collection[int]) -> list[Path]:
    """The copies of some crops on this machine, in all runs' folders."""
    return [
        path
        for run in _folders(data_dir)
        for crop_id in crop_ids
        for kind in _KINDS
        for path in (run / kind / f"{crop_id % 100:02}").glob(f"{crop_id}.*")
    ]


def tidy(database: Database, data_dir: Path) -> int:
    """Remove on this machine what no trainer needs or may read; how many copies of crops.

    Folders of runs that are over go whole. One that waits for its next trainer loses the copies of
    crops that have no row any more; under one that is at work nothing is moved.
    """
    removed = 0
    for run in _folders(data_dir):
        with database.transaction() as session:
            state = session.scalar(select(TrainingRun.state).where(TrainingRun.id == int(run.name)))
        if state is RunState.RUNNING:
            continue
        found = list(_copies(run))
        if state is RunState.QUEUED:
            removed += _remove(_without_rows(database, found))
        else:
            removed += len(found)
            shutil.rmtree(run, ignore_errors=True)
    return removed


def drop_erased(database: Database, run: Path) -> int:
    """Remove the copies in a run's folder whose crops have no row any more; how many."""
    return _remove(_without_rows(database, list(_copies(run))))


# --- helpers ------------------------------------------------------------------------------------


def _folders(data_dir: Path) -> list[Path]:
    return sorted((data_dir / RUNS).glob("[0-9]*"))


def _copies(run: Path) -> Iterator[tuple[int, Path]]:
    for kind in _KINDS:
        for path in (run / kind).glob("[0-9][0-9]/*"):
            if found := _NAME.match(path.name):
                yield int(found["crop"]), path


def _without_rows(database: Database, copies: Collection[tuple[int, Path]]) -> list[Path]:
    numbers = sorted({crop_id for crop_id, _ in copies})
    there: set[int] = set()
    for start in range(0, len(numbers), _PAGE):
        part = numbers[start : start + _PAGE]
        with database.transaction() as session:
            there.update(session.scalars(select(Crop.id).where(Crop.id.in_(part))))
    return [path for crop_id, path in copies if crop_id not in there]


def _remove(paths: Collection[Path]) -> int:
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)
