"""Results of a scan held against labels: what the pipeline itself achieves, file by file.

`training.evaluation` judges labelled media through the training code; this reads what a scan wrote
(JSON lines, `docs/item.schema.json`), so that the two can be compared: serving equals training.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from core.errors import UsageError
from detector.spec import Evaluation, Figure
from training import metrics
from training.crops import Label, Medium, read_labels

ALL = "all"
#: Figures that need no threshold; what the thresholds did is in the table of verdicts.
SHOWN = (
    "auc",
    "average_precision",
    "recall_at_fpr_1",
    "recall_at_fpr_5",
    "log_loss",
    "calibration_error",
)


@dataclass(frozen=True, kw_only=True)
class Graded:
    """One labelled medium and what the scan said of it."""

    medium: Medium
    #: `image` or `video` as the scan found it; None where the item failed.
    kind: str | None
    #: fake, real, uncertain, no_face, or the code of the failure.
    outcome: str
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Grades:
    """The whole comparison."""

    evaluations: tuple[Evaluation, ...]
    #: (label, outcome) -> number of media.
    outcomes: Mapping[tuple[Label, str], int]
    #: Labelled media of which the results say nothing.
    missing: tuple[str, ...]


def grade(results: Path, folder: Path) -> Grades:
    """Hold a scan's JSON lines against `folder/labels.csv`.

    Raises UsageError when one of the two cannot be read or they have nothing in common.
    """
    if not (folder / "labels.csv").exists():
        raise UsageError(f"{folder} has no labels.csv.")
    labelled = {medium.path: medium for medium in read_labels(folder)}
    graded = {one.medium.path: one for one in _match(_documents(results), labelled)}
    if not graded:
        raise UsageError(f"No item of {results} has a label in {folder / 'labels.csv'}.")
    return Grades(
        evaluations=tuple(_evaluations(list(graded.values()), folder.name)),
        outcomes=Counter((one.medium.label, one.outcome) for one in graded.values()),
        missing=tuple(path for path in labelled if path not in graded),
    )


def _documents(results: Path) -> Iterator[dict]:
    try:
        with results.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise UsageError(f"Line {number} of {results} is not JSON.") from error
    except OSError as error:
        raise UsageError(f"{results} cannot be read: {error.strerror}.") from error


def _match(documents: Iterable[dict], labelled: Mapping[str, Medium]) -> Iterator[Graded]:
    for document in documents:
        medium = _labelled(document["uri"], labelled)
        if medium is None:
            continue
        failed = document["status"] == "failed"
        yield Graded(
            medium=medium,
            kind=None if failed else document["media"]["kind"],
            outcome=document["error"]["code"] if failed else document["verdict"],
            score=document["score"],
        )


def _labelled(uri: str, labelled: Mapping[str, Medium]) -> Medium | None:
    """Labels name paths below their folder: the longest ending of the URI that is one."""
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    parts = path.split("/")
    for start in range(len(parts)):
        if found := labelled.get("/".join(parts[start:])):
            return found
    return None


def _evaluations(graded: Sequence[Graded], on: str) -> Iterator[Evaluation]:
    for kind in ("image", "video"):
        of_kind = [one for one in graded if one.kind == kind]
        groups = {ALL: of_kind}
        for source in sorted({one.medium.source for one in of_kind}):
            groups[source] = [one for one in of_kind if one.medium.source == source]
        for name, members in groups.items():
            if members:
                yield _evaluation(members, on, kind, name)


def _evaluation(members: Sequence[Graded], on: str, kind: str, source: str) -> Evaluation:
    # A scan's lines come as items end; intervals are drawn by position.
    usable = sorted(
        (one for one in members if one.score is not None), key=lambda one: one.medium.path
    )
    labels = np.array([one.medium.label == "fake" for one in usable], np.int64)
    return Evaluation(
        on=on,
        medium="image" if kind == "image" else "video",
        source=source,
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        no_face=len(members) - len(usable),
        figures=_figures(labels, np.array([one.score for one in usable], np.float64)),
    )


def _figures(labels: metrics.Labels, scores: metrics.Scores) -> dict[str, Figure]:
    if not len(labels):
        return {}
    found = metrics.figures(labels, scores, threshold=0.5)
    return {name: figure for name, figure in found.items() if name in SHOWN}
