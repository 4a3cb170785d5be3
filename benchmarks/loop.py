"""The loop, measured: what one round of review and retraining does for a source of fakes that the
first model has never seen.

    train a first model without the source -> scan media of it -> see what was missed
    -> an audit sample and users' reports reach reviewers, who say what is true (the known labels)
    -> a scheduled retraining -> the gate -> promotion -> scan NEW media of the source

Everything runs as it does in the service: `worker.scan`, the review queue, the schedule,
`training.retrain` and its gate, on a PostgreSQL of its own. Only people are simulated: reviewers
know the truth, and users report a share of the fakes that were called something else.

    python -m benchmarks.loop ../shared/data --work /tmp/loop

Media of one group (person, swap and target) never stand on two sides. With `--work` a loop that was
killed goes on where it stood, at whatever instruction that was: what is done lies in rows and
checkpoints. `--write` puts the tables into docs/results.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from benchmarks import loop_data, loop_tables
from benchmarks.loop_data import Parts
from benchmarks.loop_tables import Found, Page, Told
from core.errors import NotInThisState
from core.settings import Settings
from core.vocabulary import Label, RunState, Scope, Split
from db import (
    documents,
    keys,
    labels,
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
from db.training_runs import RunRecord
from training import imports, recipe, release, snapshots, train
from training import registry as bytes_of
from training.crops import Medium
from training.retrain import Trainer
from worker import scan as scanning
from worker import schedule
from worker.request import ScanRequest

#: Recipe of the first model: the shipped one's kinds of fakes, made small.
FIRST = """
name = "loop-first"
seed = {seed}
validate_every = 25
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
#: The side of the retraining recipe's made fakes, which is scaled with the network's.
RETRAIN_SIDE = "side_px = 256"
#: A Sunday on which the schedule asks for the retraining.
SUNDAY = datetime(2026, 1, 4, 4, tzinfo=UTC)
CRON = "0 3 * * sun"
#: Options that change nothing of what is measured.
_FREE = ("data", "work", "write", "workers")


def main() -> None:
    """All of it, and the tables."""
    options = _options()
    began = time.monotonic()
    work = options.work or Path(tempfile.mkdtemp(prefix="deepsweep-loop-"))
    _hold_to(options, work)
    page = Page()
    try:
        with connect(_settings(options, work)) as database:
            migrations.upgrade(database.engine)
            _Loop(options, database, work, page).run()
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    page.console.print(f"{(time.monotonic() - began) / 60:.1f} minutes since it was last begun.")
    if options.write:
        page.write()


def _settings(options: argparse.Namespace, work: Path) -> Settings:
    return Settings(
        data_dir=work / "data",
        device="cpu",
        decode_workers=1,
        retrain_promote=True,
        retrain_replay=("known",),
        retrain_cron=CRON,
        retrain_recipe=str(work / "retrain.toml"),
        golden_sets={"golden": options.margin},
    )


def _hold_to(options: argparse.Namespace, work: Path) -> None:
    """A folder holds one loop: going on with other options would measure neither."""
    told = {k: v for k, v in vars(options).items() if k not in _FREE}
    path = work / "options.json"
    work.mkdir(parents=True, exist_ok=True)
    if path.exists() and json.loads(path.read_text()) != told:
        sys.exit(f"{work} holds a loop with other options, see {path}; name another folder.")
    path.write_text(json.dumps(told, indent=1))


class _Loop:
    """The steps in their order. Each finds what is done of it and does the rest."""

    def __init__(
        self, options: argparse.Namespace, database: Database, work: Path, page: Page
    ) -> None:
        self.options, self.database, self.work, self.page = options, database, work, page
        self.settings = _settings(options, work)
        self.parts: Parts = loop_data.divide(
            options.data,
            options.generator,
            most=options.media,
            scanned=options.scanned,
            seed=options.seed,
        )

    def run(self) -> None:
        """All of them."""
        generator, page = self.options.generator, self.page
        page.table(loop_tables.sizes(vars(self.parts), generator))
        self.freeze_known()
        before = self.first_model()
        page.say(f"first model: {before}, trained without {generator}")
        scan_id, seen = self.scan("wild", before, audit=self.options.audit)
        page.table(loop_tables.verdicts("first scan", seen, generator))
        page.say(loop_tables.told(self.judge(scan_id, seen)))
        run = self.retrain()
        page.say(f"run {run.id}: {run.state}; {run.reason or 'promoted'}")
        if run.report is None:
            sys.exit(1)
        page.table(loop_tables.gate(run.report["gate"]))
        with self.database.transaction() as session:
            champion = models.champion(session)
        page.say(f"champion now: {champion.reference if champion else 'none'}")
        versions = (before, str(run.report["challenger"]))
        scans = {version: self.scan("fresh", version)[1] for version in versions}
        page.table(loop_tables.comparison(scans, generator))
        page.table(loop_tables.changes(scans, generator))

    # --- the first model ---

    def freeze_known(self) -> None:
        """Import both parts, and freeze them as the snapshots `known` and `golden`."""
        for name in ("known", "golden"):
            folder = self.work / name / "train"
            loop_data.lay_out(getattr(self.parts, name), self.options.data, folder)
            imports.run(self.settings, str(folder), name)
        seed = self.options.seed
        plans = {
            "known": snapshots.Plan(sets={"known": None}, validation=0.25, seed=seed),
            "golden": snapshots.Plan(sets={"golden": Split.GOLDEN}),
        }
        for name, plan in plans.items():
            snapshots.freeze(self.database, self.settings, name, plan, actor="benchmark")

    def first_model(self) -> str:
        """Train, calibrate, register and promote the first model."""
        with self.database.transaction() as session:
            known = {record.reference for record in models.listed(session)}
        if "loop@1" in known:
            return "loop@1"
        data = self._data_of_first()
        recipe_file = self.work / "first.toml"
        size = self.options.size
        # One more than the snapshot's: then both hold the same groups out.
        text = FIRST.format(
            seed=self.options.seed + 1,
            steps=self.options.first_steps,
            size_px=size,
            side_px=round(size * 1.25),
        )
        recipe_file.write_text(text)
        out, workers = self.work / "first", self.options.workers
        train.run(str(recipe_file), data, out, self.work / "cache", workers=workers)
        release.release(out, data, self.work / "model", name="loop", number=1, sets=())
        record = bytes_of.register(self.database, self.settings, self.work / "model")
        with self.database.transaction() as session:
            registry.promote(session, record.reference, actor="benchmark")
        return record.reference

    def _data_of_first(self) -> Path:
        data, cache = self.work / "known", self.work / "cache"
        cache.mkdir(exist_ok=True)
        # The crops were cut by the import, which keeps them in the same form.
        for link, target in (
            (data / "weights", self.options.data / "weights"),
            (cache / "train", imports.folder_of(self.settings, "known")),
        ):
            if not link.exists():
                link.symlink_to(target.resolve())
        return data

    # --- scans ---

    def scan(self, part: str, model: str, *, audit: float = 0.0) -> tuple[uuid.UUID, list[Found]]:
        """Scan the media as `deepsweep scan` does; what was found."""
        folder, media = self.work / part, getattr(self.parts, part)
        loop_data.lay_out(media, self.options.data, folder)
        request = ScanRequest(
            sources=(str(folder / "images"),),
            model=model,
            # Nobody reviews the last scans: the round is over by then.
            draw=Draw(real=audit, uncertain=1.0 if audit else 0.0),
            keep=Keeping.usual(self.settings) if audit else None,
        )
        outcome = scanning.run(self.settings, request)
        by_uri = loop_data.by_uri(media, folder)
        with self.database.transaction() as session:
            found = [
                _found(by_uri[document["uri"]], document)
                for document in documents.iter_item_documents(session, outcome.scan_id)
            ]
        return outcome.scan_id, found

    # --- people ---

    def judge(self, scan_id: uuid.UUID, seen: Sequence[Found]) -> Told:
        """Users report, and two reviewers judge the queue by the known labels; how much of what."""
        with self.database.transaction() as session:
            people = {name: _key(session, name) for name in ("user", "Ada", "Ben")}
            items = {
                document["uri"]: document["id"]
                for document in documents.iter_item_documents(session, scan_id)
            }
        truth = loop_data.by_uri(self.parts.wild, self.work / "wild")
        reported = self._report(people["user"], items, seen)
        reviewers = [Reviewer(id=people[name], name=name) for name in ("Ada", "Ben")]
        while not self._run_id() and sum(self._judge_one(each, truth) for each in reviewers):
            pass
        with self.database.transaction() as session:
            return Told.of(session, labels.words(session), reported=reported)

    def _report(self, user: int, items: Mapping[str, int], seen: Sequence[Found]) -> int:
        """A share of what was missed; how many."""
        uris = {medium.path: uri for uri, medium in self._wild().items()}
        missed = [
            one.medium.path
            for one in seen
            if one.medium.label == "fake" and one.verdict in ("real", "uncertain")
        ]
        seed = self.options.seed + 1
        chosen = [path for path in missed if loop_data.share(path, seed) < self.options.reports]
        for path in chosen:
            try:
                with self.database.transaction() as session:
                    item_id = items[uris[path]]
                    reports.report(session, item_id, api_key_id=user, text="This is fake.")
            except NotInThisState:
                continue  # judged before the loop was killed
        return len(chosen)

    def _wild(self) -> Mapping[str, Medium]:
        return loop_data.by_uri(self.parts.wild, self.work / "wild")

    def _judge_one(self, reviewer: Reviewer, truth: Mapping[str, Medium]) -> bool:
        with self.database.transaction() as session:
            item = review_queue.claim_next(session, reviewer)
            if item is None:
                return False
            label = Label(truth[item.uri].label)
            said = dict.fromkeys(item.tracks or {reviews.WHOLE: 0.0}, label)
            reviews.judge(session, reviewer, item.review_id, said)
        return True

    # --- the retraining ---

    def retrain(self) -> RunRecord:
        """The run that the schedule asks for, worked on here until it is over."""
        self._write_recipe()
        run_id = self._run_id() or schedule.ask(self.database, self.settings, SUNDAY)
        assert run_id is not None
        while True:
            run = self._trainer().run(run_id)
            if run.state not in (RunState.QUEUED, RunState.RUNNING):
                return run
            time.sleep(5)  # a loop that was killed holds its run for as long as its lease lasts

    def _run_id(self) -> int | None:
        """The run, once it was asked for: everything was judged by then."""
        with self.database.transaction() as session:
            listed = training_runs.listed(session)
        return listed[0].id if listed else None

    def _write_recipe(self) -> None:
        """The recipe of every retraining; made fakes are as small as the model."""
        text = (recipe.FOLDER / "retrain.toml").read_text()
        text = text.replace(RETRAIN_SIDE, f"side_px = {round(self.options.size * 1.25)}")
        if self.options.steps:
            lines = text.splitlines(keepends=True)
            steps = f"steps = {self.options.steps}\n"
            text = "".join(steps if line.startswith("steps = ") else line for line in lines)
        (self.work / "retrain.toml").write_text(text)

    def _trainer(self) -> Trainer:
        return Trainer(
            database=self.database,
            settings=self.settings,
            name="benchmark",
            workers=self.options.workers,
        )


def _found(medium: Medium, document: Mapping[str, Any]) -> Found:
    verdict = document["verdict"] or document["status"]
    return Found(medium=medium, verdict=verdict, score=document["score"])


def _key(session: Session, name: str) -> int:
    """The key of a simulated person, made once."""
    known = {record.name: record.id for record in keys.listed(session)}
    if name in known:
        return known[name]
    scope = Scope.READ if name == "user" else Scope.REVIEW
    return keys.create(session, name=name, scopes=[scope])[0].id


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder with train/labels.csv and weights/")
    parser.add_argument("--generator", default="inswapper_128", help="kept from the first model")
    parser.add_argument("--media", type=int, default=200, help="of each source and kind, at most")
    parser.add_argument("--scanned", type=int, default=60, help="the same, of what is scanned")
    parser.add_argument("--size", type=int, default=160, help="side of the network's crop, pixels")
    parser.add_argument("--first-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, help="of the retraining, instead of the recipe's")
    parser.add_argument("--audit", type=float, default=0.3, help="share of `real` items drawn")
    parser.add_argument("--reports", type=float, default=0.5, help="share of misses reported")
    parser.add_argument("--margin", type=float, default=0.05, help="what the golden set may lose")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches")
    parser.add_argument("--work", type=Path, help="keep everything here, and go on from it")
    parser.add_argument("--write", action="store_true", help="put the tables in docs/results.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
