"""The loop, measured: what one round of review and retraining does for a source of fakes that the
first model has never seen.

    train a first model without the source -> scan media of it -> see what was missed
    -> an audit sample and users' reports reach reviewers, who say what is true (the known labels)
    -> a scheduled retraining -> the gate -> promotion -> scan NEW media of the source

Everything runs as it does in the service: `worker.scan`, the review queue, `training.retrain` and
its gate, on a PostgreSQL of its own. Only people are simulated: reviewers know the truth, and users
report a share of the fakes that were called something else.

    python -m benchmarks.loop ../shared/data

Media of one group (person, swap and target) never stand on two sides. Two cores need about a
quarter of an hour; `--first-steps`, `--steps` and `--media` change that.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import loop_tables
from benchmarks.loop_tables import Found
from core.settings import Settings
from core.vocabulary import Label, Scope, Split
from db import (
    documents,
    keys,
    migrations,
    models,
    registry,
    reports,
    review_queue,
    reviews,
    training_runs,
)
from db.keeping import Draw, Keeping
from db.review_queue import Reviewer
from db.session import Database, connect
from db.training_runs import RunRecord, Wishes
from training import crops, imports, recipe, release, snapshots, train
from training import registry as bytes_of
from training.crops import Medium
from training.retrain import Trainer
from worker import scan as scanning
from worker.request import ScanRequest

#: Recipe of the first model: the shipped one's kinds of fakes, made small.
FIRST = """
name = "loop-first"
seed = {seed}
validate_every = 50
[input]
size_px = {size_px}
crop_margin = 0.15
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[network]
architecture = "mobilenet-v2"
pretrained = "weights/mobilenet_v2_imagenet.fp16.safetensors"
options = {{ dropout = 0.2 }}
[validation]
share = 0.25
[batch]
pairs = 6
labelled = 8
video = 0.0

[batch.kinds]
faceswap = 0.25
reenactment = 0.15
diffusion = 0.25
stylegan = 0.25
photoshop = 0.1
[synthesis]
side_px = {side_px}
margin = 0.3
methods = {{ self-blend = 0.5, swap = 0.25, reenact = 0.15, edit-part = 0.1 }}
[augmentation]
degrade = 0.5
margin = [0.08, 0.22]
shift = 0.03
[optimiser]
learning_rate = 1e-3
weight_decay = 0.02
steps = {steps}
warm_up_steps = 20
average = 0.99
smoothing = 0.02
"""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Media of the labelled folder, by what they are for; no group is in two of them."""

    #: The first model's, and what is replayed later.
    known: tuple[Medium, ...]
    #: On which nothing may get worse.
    golden: tuple[Medium, ...]
    #: Scanned at first: the unseen source, and known ones beside it.
    wild: tuple[Medium, ...]
    #: Scanned at the end.
    fresh: tuple[Medium, ...]


def main() -> None:
    """All of it, and the tables."""
    options, console = _options(), Console(width=110)
    began = time.monotonic()
    work = options.work or Path(tempfile.mkdtemp(prefix="deepsweep-loop-"))
    parts = divide(options)
    settings = Settings(
        data_dir=work / "data",
        device="cpu",
        decode_workers=1,
        retrain_promote=True,
        retrain_replay=("known",),
        golden_sets={"golden": options.margin},
    )
    try:
        with connect(settings) as database:
            migrations.upgrade(database.engine)
            _run(options, console, parts, settings, database, work)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes in all.")


def _run(
    options: argparse.Namespace,
    console: Console,
    parts: Parts,
    settings: Settings,
    database: Database,
    work: Path,
) -> None:
    console.print(loop_tables.sizes(vars(parts), options.generator))
    freeze_known(options, settings, database, parts, work)
    before = first_model(options, settings, database, work)
    console.print(f"first model: {before}, trained without {options.generator}")
    scan_id, seen = scan(options, settings, parts.wild, work / "wild", audit=options.audit)
    console.print(loop_tables.verdicts("first scan", seen, options.generator))
    told = judge(database, scan_id, seen, options)
    console.print(f"reported by users: {told['reported']}; " + loop_tables.told(told))
    run = retrain(options, settings, database, work)
    console.print(f"run {run.id}: {run.state}; {run.reason or 'promoted'}")
    if run.report is None:
        sys.exit(1)
    console.print(loop_tables.gate(run.report["gate"]))
    after = run.report["challenger"]
    rescans = {
        name: scan(options, settings, parts.fresh, work / "fresh", model=name)[1]
        for name in (before, after)
    }
    with database.transaction() as session:
        champion = models.champion(session)
    console.print(f"champion now: {champion.reference if champion else 'none'}")
    console.print(loop_tables.comparison(rescans, options.generator))


# --- data ---------------------------------------------------------------------------------------


def divide(options: argparse.Namespace) -> Parts:
    """Stills of `train`, by group: half of the unseen source is for the end, and so on."""
    media = [m for m in crops.read_labels(options.data / "train") if m.path.startswith("images/")]
    sources = {m.source for m in media if m.generator == options.generator}
    unseen = {m.group for m in media if m.generator == options.generator}
    parts: dict[str, list[Medium]] = defaultdict(list)
    for medium in media:
        share = _share(medium.group, options.seed)
        if medium.group in unseen or medium.source in sources:
            # The source's reals come along, so that the source alone does not give a fake away.
            parts["wild" if share < options.wild else "fresh"].append(medium)
        elif share < 0.55:
            parts["known"].append(medium)
        elif share < 0.75:
            parts["golden"].append(medium)
        else:
            parts["wild" if share < 0.875 else "fresh"].append(medium)
    return Parts(**{name: _thin(found, options) for name, found in parts.items()})


def _thin(media: Sequence[Medium], options: argparse.Namespace) -> tuple[Medium, ...]:
    """At most so many of each source, label and generator."""
    taken: Counter[tuple[str, str, str]] = Counter()
    kept = []
    for medium in sorted(media, key=lambda m: _share(m.path, options.seed)):
        cell = (medium.source, medium.label, medium.generator)
        taken[cell] += 1
        if medium.generator == options.generator or taken[cell] <= options.media:
            kept.append(medium)
    return tuple(kept)


def _share(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"loop:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def freeze_known(
    options: argparse.Namespace, settings: Settings, database: Database, parts: Parts, work: Path
) -> None:
    """Import both parts, and freeze them as the snapshots `known` and `golden`."""
    for name, media in (("known", parts.known), ("golden", parts.golden)):
        folder = work / name / "train"
        lay_out(options, media, folder)
        imports.run(settings, str(folder), name)
    plans = {
        "known": snapshots.Plan(sets={"known": None}, validation=0.25, seed=options.seed),
        "golden": snapshots.Plan(sets={"golden": Split.GOLDEN}),
    }
    for name, plan in plans.items():
        snapshots.freeze(database, settings, name, plan, actor="benchmark")


def lay_out(options: argparse.Namespace, media: Iterable[Medium], folder: Path) -> None:
    """The media as links below a folder with a labels.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(Medium.__dataclass_fields__)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for medium in media:
            writer.writerow(vars(medium))
            link = folder / medium.path
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to((options.data / "train" / medium.path).resolve())


# --- the steps ----------------------------------------------------------------------------------


def first_model(
    options: argparse.Namespace, settings: Settings, database: Database, work: Path
) -> str:
    """Train, calibrate, register and promote the first model."""
    recipe = work / "first.toml"
    sizes = {"size_px": options.size, "side_px": round(options.size * 1.25)}
    # One more than the snapshot's: then both hold the same groups out.
    recipe.write_text(FIRST.format(seed=options.seed + 1, steps=options.first_steps, **sizes))
    data, cache = work / "known", work / "cache"
    cache.mkdir(exist_ok=True)
    # The crops were cut by the import, which keeps them in the same form.
    for link, target in (
        (data / "weights", options.data / "weights"),
        (cache / "train", imports.folder_of(settings, "known")),
    ):
        if not link.exists():
            link.symlink_to(target.resolve())
    train.run(str(recipe), data, work / "first", cache, workers=options.workers)
    release.release(work / "first", data, work / "model", name="loop", number=1, sets=())
    record = bytes_of.register(database, settings, work / "model")
    with database.transaction() as session:
        registry.promote(session, record.reference, actor="benchmark")
    return record.reference


def scan(
    options: argparse.Namespace,
    settings: Settings,
    media: Sequence[Medium],
    folder: Path,
    *,
    model: str | None = None,
    audit: float = 0.0,
) -> tuple[uuid.UUID, list[Found]]:
    """Scan the media as `deepsweep scan` does; what was found."""
    lay_out(options, media, folder)
    heard = _Heard({str((folder / m.path).absolute()): m for m in media})
    request = ScanRequest(
        sources=(str(folder / "images"),),
        model=model,
        draw=Draw(real=audit),
        keep=Keeping.usual(settings) if audit else None,
        fresh=True,
    )
    outcome = scanning.run(settings, request, heard)
    return outcome.scan_id, heard.found


class _Heard:
    """An observer that keeps what the labelled media were called."""

    def __init__(self, media: Mapping[str, Medium]) -> None:
        self._media = media
        self.found: list[Found] = []

    def listed(self, total: int, *, complete: bool) -> None: ...

    def finished(self, document: dict[str, Any]) -> None:
        """One item has ended."""
        medium = self._media[document["uri"].removeprefix("file://")]
        verdict = document["verdict"] or document["status"]
        self.found.append(Found(medium=medium, verdict=verdict, score=document["score"]))


def judge(
    database: Database, scan_id: uuid.UUID, seen: Sequence[Found], options: argparse.Namespace
) -> Counter[str]:
    """Users report, and two reviewers judge the queue by the known labels; how much of what."""
    truth = {one.medium.path: one.medium for one in seen}
    told: Counter[str] = Counter()
    with database.transaction() as session:
        user, _ = keys.create(session, name="user", scopes=[Scope.READ])
        people = [keys.create(session, name=n, scopes=[Scope.REVIEW])[0] for n in ("Ada", "Ben")]
        items = _items(session, scan_id)
        for one in seen:
            missed = one.medium.label == "fake" and one.verdict in ("real", "uncertain")
            if missed and _share(one.medium.path, options.seed + 1) < options.reports:
                item = next(i for uri, i in items.items() if uri.endswith(one.medium.path))
                reports.report(session, item, api_key_id=user.id, text="This is fake.")
                told["reported"] += 1
    reviewers = [Reviewer(id=person.id, name=person.name) for person in people]
    moved = True
    while moved:
        moved = False
        for reviewer in reviewers:
            with database.transaction() as session:
                moved |= _judge_one(session, reviewer, truth, told)
    return told


def _judge_one(
    session: Any, reviewer: Reviewer, truth: Mapping[str, Medium], told: Counter[str]
) -> bool:
    item = review_queue.claim_next(session, reviewer)
    if item is None:
        return False
    medium = next(m for path, m in truth.items() if item.uri.endswith(path))
    labels = dict.fromkeys(item.tracks or {reviews.WHOLE: 0.0}, Label(medium.label))
    reviews.judge(session, reviewer, item.review_id, labels)
    told[str(item.source)] += 1
    told[medium.label] += 1
    return True


def _items(session: Any, scan_id: uuid.UUID) -> dict[str, int]:
    return {d["uri"]: d["id"] for d in documents.iter_item_documents(session, scan_id)}


def retrain(
    options: argparse.Namespace, settings: Settings, database: Database, work: Path
) -> RunRecord:
    """The scheduled run, worked off here; its made fakes are as small as the model."""
    plan = (recipe.FOLDER / "retrain.toml").read_text()
    own = work / "retrain.toml"
    own.write_text(plan.replace("side_px = 256", f"side_px = {round(options.size * 1.25)}"))
    with database.transaction() as session:
        run = training_runs.request(
            session,
            recipe=str(own),
            wishes=Wishes(steps=options.steps),
            actor=training_runs.SCHEDULE,
            period="2026-01-04T03:00:00+00:00",
        )
    assert run is not None
    trainer = Trainer(
        database=database, settings=settings, name="benchmark", workers=options.workers
    )
    return trainer.run(run.id)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder with train/labels.csv and weights/")
    parser.add_argument("--generator", default="inswapper_128", help="kept from the first model")
    parser.add_argument("--media", type=int, default=60, help="of each source and kind, at most")
    parser.add_argument("--wild", type=float, default=0.6, help="share of the source scanned first")
    parser.add_argument("--size", type=int, default=160, help="side of the network's crop, pixels")
    parser.add_argument("--first-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=250, help="of the retraining")
    parser.add_argument("--audit", type=float, default=0.3, help="share of `real` items drawn")
    parser.add_argument("--reports", type=float, default=0.5, help="share of misses reported")
    parser.add_argument("--margin", type=float, default=0.05, help="what the golden set may lose")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--work", type=Path, help="keep everything here, and go on from it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
