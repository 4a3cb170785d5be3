"""One retraining from its request to the gate's answer.

    take -> freeze a snapshot -> fine-tune from the champion -> calibrate -> register -> gate -> end

Every step finds in rows and files what the one before has done, so that a trainer that dies at any
instruction leaves the run to the next one. The promotion, the run's end and their audit events are
one transaction: a kill leaves all of it or nothing. One trainer works at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import DeepsweepError, TrainerBusy, TrainingStopped, TransientError
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import RunState
from db import labels as rows
from db import models, run_copies, snapshots, training_runs, upkeep
from db import registry as promotion
from db.models import ModelRecord
from db.session import Database
from db.snapshots import SnapshotRecord
from db.training_runs import Ending, RunRecord, Wishes
from detector import artifact
from detector.score import Scorer
from training import challenger, gate, golden, material, registry, selection
from training.challenger import Material
from training.holding import Holding
from training.judging import Judged
from training.progress import Stage, Teller

_log = logging.getLogger(__name__)

AWAITS, CHANGED = "awaits_promotion", "champion_changed"


@dataclass(kw_only=True)
class Trainer:
    """One process that trains. `stop` may be set from any thread or by a signal."""

    database: Database
    settings: Settings
    #: Who holds the run, as rows and audit events say it.
    name: str
    stop: threading.Event = field(default_factory=threading.Event)
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None
    threads: int = 1
    #: Processes that prepare batches beside this one.
    workers: int = 0

    def run(self, run_id: int) -> RunRecord:
        """Work on a run until it has ended; how it did.

        A run that another trainer has, or that is over, is given back as it is. Raises TrainerBusy
        where another run is at work, RunLost where it was stopped or taken meanwhile; and what
        broke it, after that was written down.
        """
        with upkeep.alone(self.database, upkeep.TRAIN) as mine:
            if not mine:
                raise TrainerBusy("Another training run is at work; there is one at a time.")
            with self.database.transaction() as session:
                run = training_runs.take(session, run_id, trainer=self.name)
            if run is not None:
                self._work(run)
            # Folders of runs that are over hold copies of people's faces.
            run_copies.tidy(self.database, self.settings.data_dir)
        with self.database.transaction() as session:
            return training_runs.get(session, run_id)

    def _work(self, run: RunRecord) -> None:
        with Holding(self.database, run.id, self.name, self.stop) as holding:
            try:
                _Run(self, run, holding).work()
            except TrainingStopped as stopped:
                holding.end(_ending(RunState.STOPPED, stopped))
            except TransientError:
                # The surroundings failed, or this process is to end: not the run's fault.
                holding.leave()
                raise
            except DeepsweepError as error:
                holding.end(_ending(RunState.FAILED, error))
            except Exception as error:
                # The run's border: whatever broke it is told to those who wait for it.
                holding.end(_broken(error))
                raise


class _Run:
    """The steps of one run."""

    def __init__(self, trainer: Trainer, run: RunRecord, holding: Holding) -> None:
        self.database, self.settings = trainer.database, trainer.settings
        self.trainer, self.run, self.holding = trainer, run, holding
        self.wishes = Wishes.of(run.parameters)
        self.storage = Storage(trainer.settings)
        self.folder = run_copies.folder(trainer.settings.data_dir, run.id)
        self.teller = Teller(holding, trainer.on_progress, run.progress)

    def work(self) -> None:
        """All of it."""
        base = self._base()
        snapshot = self._frozen(base)
        shown = self._material(snapshot)
        base_folder = registry.files_of(base, self.settings)
        made = self._made(snapshot)
        if made is None:
            made, judged = self._train(base_folder, snapshot, shown)
        else:
            self.teller.stage(Stage.EVALUATING)
            judged = self._judge(registry.files_of(made, self.settings), shown)
        self._own(made)
        decision = self._decide(base_folder, made, shown, judged)
        self._end(base, made, snapshot, decision)

    # --- steps ---

    def _base(self) -> ModelRecord:
        """The version that the run starts from, fixed when it begins."""
        with self.database.transaction() as session:
            if self.run.base_model_version_id is not None:
                return models.get(session, self.run.base_model_version_id)
            champion = models.champion(session)
        base = champion or registry.register(self.database, self.settings, artifact.DEFAULT_FOLDER)
        with self.holding.transaction() as session:
            training_runs.set_base(session, self.run.id, base.id, trainer=self.trainer.name)
        return base

    def _frozen(self, base: ModelRecord) -> SnapshotRecord:
        """The snapshot that the run learns from."""
        snapshot_id = self.run.snapshot_id
        if snapshot_id is None:
            self.teller.stage(Stage.COLLECTING)
            snapshot_id = selection.freeze(
                self.database,
                self.settings,
                self.storage,
                self.run,
                base,
                self.folder,
                trainer=self.trainer.name,
            )
        with self.database.transaction() as session:
            return snapshots.get(session, snapshot_id)

    def _material(self, snapshot: SnapshotRecord) -> Material:
        """The snapshot's crops and those of the golden sets, on disk."""
        self.teller.stage(Stage.FETCHING)
        run_copies.drop_erased(self.database, self.folder)
        names = selection.golden_sets(self.settings, self.wishes)
        with self.database.transaction() as session:
            own = rows.examples_of(session, snapshot.id)
            kept = {
                name: golden.rows_of(rows.examples_of(session, snapshots.find(session, name).id))
                for name in names
            }
        return Material.of(
            self.folder,
            material.lay_out(self.storage, own, self.folder),
            {
                name: material.lay_out(self.storage, found, self.folder)
                for name, found in kept.items()
            },
        )

    def _made(self, snapshot: SnapshotRecord) -> ModelRecord | None:
        """The challenger, where a trainer before has registered it."""
        with self.database.transaction() as session:
            return models.trained_on(session, snapshot.name)

    def _train(
        self, base: Path, snapshot: SnapshotRecord, shown: Material
    ) -> tuple[ModelRecord, dict[str, list[Judged]]]:
        """Fine-tune, calibrate, measure and register."""
        plan = challenger.make_plan(self.run.recipe, base, self.wishes, seed=self.run.id)
        self.teller.stage(Stage.TRAINING)
        fitted = challenger.train(
            plan,
            shown,
            self.folder / "fit",
            on_step=self.teller.step,
            threads=self.trainer.threads,
            workers=self.trainer.workers,
        )
        self.teller.stage(Stage.CALIBRATING)
        card = artifact.read_card(base)
        with self.database.transaction() as session:
            number = models.next_number(session, card.name)
        _, judged = challenger.write(
            self.folder / "model",
            fitted,
            card,
            plan,
            snapshot,
            shown,
            number=number,
        )
        self.teller.stage(Stage.REGISTERING)
        made = registry.register(
            self.database, self.settings, self.folder / "model", to=self.settings.retrain_store
        )
        return made, judged

    def _own(self, made: ModelRecord) -> None:
        with self.holding.transaction() as session:
            training_runs.set_product(session, self.run.id, made.id, trainer=self.trainer.name)

    def _decide(
        self, base: Path, made: ModelRecord, shown: Material, after: dict[str, list[Judged]]
    ) -> gate.Decision:
        """Hold the challenger against the base on the same faces."""
        self.teller.stage(Stage.DECIDING)
        before = self._judge(base, shown)
        cards = artifact.read_card(base), artifact.read_card(registry.files_of(made, self.settings))
        pairs = {
            name: golden.pairs(before[name], after[name], cards)
            for name, examples in shown.measured.items()
            if examples
        }
        margins = selection.golden_sets(self.settings, self.wishes)
        with self.database.transaction() as session:
            before_this = training_runs.decided_on(session, self.run.id)
        return gate.decide(
            pairs.get(gate.FLAGGED_SET),
            {name: (pairs[name], margin) for name, margin in margins.items() if name in pairs},
            tries=before_this + 1,
        )

    def _judge(self, folder: Path, shown: Material) -> dict[str, list[Judged]]:
        module, card = artifact.load(folder)
        return challenger.judge_all(Scorer(module, card), shown)

    # --- the end ---

    def _end(
        self,
        base: ModelRecord,
        made: ModelRecord,
        snapshot: SnapshotRecord,
        decision: gate.Decision,
    ) -> None:
        """Promote where the gate and the settings say so, and end the run, in one transaction."""
        report = {
            "champion": base.reference,
            "challenger": made.reference,
            "labels": dict(snapshot.counts),
            "gate": decision.as_json(),
        }
        promote = self.settings.retrain_promote
        if self.wishes.promote is not None:
            promote = self.wishes.promote
        try:
            with self.holding.transaction() as session:
                if decision.passed and promote:
                    change = promotion.promote(
                        session, made.reference, actor=self.trainer.name, reason=decision.reason
                    )
                    if change.before is not None and change.before.id != base.id:
                        raise _AnotherChampion(change.before.reference)
                elif decision.passed and self.settings.shadow_share:
                    share = self.settings.shadow_share
                    promotion.shadow(session, made.reference, share, actor=self.trainer.name)
                self._write_end(session, made, decision, report, promoted=promote)
        except _AnotherChampion as other:
            with self.holding.transaction() as session:
                self._write_end(
                    session, made, _outdated(decision, base, str(other)), report, promoted=False
                )

    def _write_end(
        self,
        session: Any,
        made: ModelRecord,
        decision: gate.Decision,
        report: dict[str, Any],
        *,
        promoted: bool,
    ) -> None:
        code, reason = decision.code, decision.reason
        if decision.passed and not promoted:
            code = AWAITS
            reason = f"{reason} A person promotes it: deepsweep models promote {made.reference}"
        ending = Ending(
            state=RunState.SUCCEEDED,
            code=code,
            reason=reason,
            report=report,
            details={"challenger": made.reference, "promoted": decision.passed and promoted},
        )
        self.holding.write_end(session, ending)


class _AnotherChampion(Exception):
    """Somebody promoted another version meanwhile; the figures do not speak of that one."""


def _outdated(decision: gate.Decision, base: ModelRecord, champion: str) -> gate.Decision:
    return gate.Decision(
        passed=False,
        code=CHANGED,
        reason=f"The challenger was held against {base.reference}, and {champion} has become the "
        "champion meanwhile; retrain from that one.",
        checks=decision.checks,
    )


def _ending(state: RunState, error: DeepsweepError) -> Ending:
    return Ending(state=state, code=error.code, reason=str(error))


def _broken(error: Exception) -> Ending:
    _log.exception("training_broke")
    return Ending(
        state=RunState.FAILED,
        code="internal_error",
        reason=f"The trainer broke ({type(error).__name__}); its log has the details.",
    )
