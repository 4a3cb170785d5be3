"""What a retraining learns from: new labels and replayed data, frozen as a snapshot."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.errors import RunLost, TooFewLabels
from core.objects import Storage
from core.settings import Settings
from core.vocabulary import Label, Split
from db import labels as rows
from db import snapshots, training_runs
from db.canonical import canonical_sha256
from db.labels import CropRow, ExampleRow, Learnt, Word
from db.models import ModelRecord
from db.session import Database
from db.training_runs import RunRecord, Wishes
from training import division, golden, labels, material
from training.labels import Person, Settled
from training.material import Piece


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows before anything is fetched."""

    flagged: tuple[ExampleRow, ...]
    replayed: tuple[ExampleRow, ...]
    golden: tuple[ExampleRow, ...]
    #: The snapshot that the base version was retrained on.
    parent_id: int | None
    settled: Settled
    #: Of the labelled persons with crops, how many are new.
    new: int
    #: Labelled persons without crops: not kept, deleted since, or yet to be cut.
    bare: int
    #: What stays in the split that it was in.
    before: division.Before


def freeze(
    database: Database,
    settings: Settings,
    storage: Storage,
    run: RunRecord,
    base: ModelRecord,
    folder: Path,
    *,
    trainer: str,
) -> int:
    """The id of the run's new snapshot.

    Raises TooFewLabels, OneClassOnly,
    LabelsContradict, ReviewerApart; NotFound for a snapshot that is named and not there; RunLost.
    """
    wishes = Wishes.of(run.parameters)
    with database.transaction() as session:
        source = gather(session, settings, wishes, base)
    flagged, replayed, kept = (
        material.lay_out(storage, part, folder)
        for part in (source.flagged, source.replayed, source.golden)
    )
    divided = division.divide(flagged, replayed, kept, folder, source.before)
    check_held_out(divided.pieces)
    with database.transaction() as session:
        return _write(session, run, source, divided, trainer)


def gather(session: Session, settings: Settings, wishes: Wishes, base: ModelRecord) -> Source:
    """What there is to learn from. Raises as `freeze` does."""
    said = rows.words(session)
    words = labels.without(said, wishes.without)
    made_by = training_runs.of_model(session, base.id)
    parent_id = made_by.snapshot_id if made_by else None
    learnt = rows.learnt(session, parent_id) if parent_id is not None else Learnt()
    settled = labels.settle(words)
    flagged, new, bare = _flagged(session, settled, learnt.reviews)
    labels.check(
        _batch(words, learnt.reviews),
        new,
        fewest=wishes.min_labels or settings.retrain_min_labels,
        fewest_each=wishes.min_each or settings.retrain_min_each,
        names=rows.reviewers(session),
    )
    return Source(
        flagged=tuple(flagged),
        replayed=tuple(_replayed(session, settings, wishes, parent_id)),
        golden=tuple(
            row
            for name in golden_sets(settings, wishes)
            for row in golden.rows_of(_examples(session, name))
        ),
        parent_id=parent_id,
        settled=settled,
        new=len(new),
        bare=bare,
        before=_before(said, new, learnt),
    )


def golden_sets(settings: Settings, wishes: Wishes) -> Mapping[str, float]:
    """The golden sets of a run, and what each may lose."""
    return settings.golden_sets if wishes.golden is None else wishes.golden


def check_held_out(pieces: Sequence[Piece]) -> None:
    """Raise TooFewLabels where the held-out flagged persons cannot show a gain."""
    held = {
        piece.example.media.path: piece.row.label
        for piece in pieces
        if piece.flagged and piece.row.split is Split.TEST
    }
    counted = Counter(held.values())
    if min(counted[label] for label in (Label.REAL, Label.FAKE)) < division.FEWEST_HELD_OUT:
        raise TooFewLabels(
            f"Of the labelled persons {counted[Label.FAKE]} fake and {counted[Label.REAL]} real "
            f"ones are held out, and {division.FEWEST_HELD_OUT} of each are needed to see whether "
            "something was learnt; have more persons judged."
        )


# --- helpers ------------------------------------------------------------------------------------


def _flagged(
    session: Session, settled: Settled, used: set[int]
) -> tuple[list[ExampleRow], list[Person], int]:
    """Examples of every labelled person with crops, which persons are new, how many have none."""
    crops: dict[tuple[int | None, int], list[CropRow]] = defaultdict(list)
    for crop in rows.crops_of(session, {person.verdict_id for person in settled.persons}):
        crops[crop.verdict_id, crop.track].append(crop)
    examples: list[ExampleRow] = []
    new: list[Person] = []
    bare = 0
    for person in settled.persons:
        found = material.thin(crops[person.verdict_id, person.track])
        bare += not found
        if found and person.review_id not in used:
            new.append(person)
        examples += [
            ExampleRow(crop=crop, label=person.label, split=Split.TRAIN, review_id=person.review_id)
            for crop in found
        ]
    return examples, new, bare


def _before(said: Iterable[Word], new: Iterable[Person], learnt: Learnt) -> division.Before:
    """What is not new in any way: judged in another item, too, or learnt from already."""
    fresh = {person.item_id for person in new} - set(learnt.items)
    media = frozenset(word.media_id for word in said if word.item_id not in fresh)
    return division.Before(items=learnt.items, media=media)


def _batch(words: Sequence[Word], used: set[int]) -> list[Word]:
    """Everything said of items that nothing was learnt from yet, and every adjudication."""
    known = {word.item_id for word in words if word.review_id in used}
    return [word for word in words if word.item_id not in known or word.round == labels.THIRD]


def _replayed(
    session: Session, settings: Settings, wishes: Wishes, parent_id: int | None
) -> list[ExampleRow]:
    """What the base was retrained on and the named snapshots, each crop once, golden ones not."""
    found = rows.examples_of(session, parent_id) if parent_id is not None else []
    names = settings.retrain_replay if wishes.replay is None else wishes.replay
    for name in names:
        found += _examples(session, name)
    once = {row.crop.id: row for row in reversed(found) if row.review_id is None}
    return [row for row in once.values() if row.split is not Split.GOLDEN]


def _examples(session: Session, name: str) -> list[ExampleRow]:
    return rows.examples_of(session, snapshots.find(session, name).id)


def _write(
    session: Session,
    run: RunRecord,
    source: Source,
    divided: division.Division,
    trainer: str,
) -> int:
    name = f"retrain-{run.id}"
    pieces = divided.pieces
    counts = _counts(pieces) | _left_out(source, divided)
    record = snapshots.freeze(
        session,
        name,
        sha256=canonical_sha256({"format": 1, "examples": [_entry(each) for each in pieces]}),
        recipe={"run": run.id, "parent_id": source.parent_id, **dict(run.parameters)},
        counts=counts,
        examples=[
            snapshots.NewExample(
                crop_uri=piece.row.crop.uri,
                label=piece.row.label,
                split=piece.row.split,
                review_id=piece.row.review_id,
            )
            for piece in pieces
        ],
        crops={piece.row.crop.uri: piece.row.crop.id for piece in pieces},
        actor=trainer,
        parent_id=source.parent_id,
    )
    if not training_runs.set_snapshot(session, run.id, record.id, trainer=trainer):
        raise RunLost(f"Training run {run.id} was stopped or taken by another trainer.")
    return record.id


def _entry(piece: Piece) -> dict[str, Any]:
    return {
        "crop_sha256": piece.row.crop.sha256.hex(),
        "label": str(piece.row.label),
        "split": str(piece.row.split),
        "reviewed": piece.flagged,
    }


def _counts(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Crops by split and label, media by split, and the labelled persons among them."""
    counted: dict[str, Counter[str]] = {}
    media: dict[str, set[str]] = defaultdict(set)
    persons: dict[str, set[str]] = defaultdict(set)
    for piece in pieces:
        split = str(piece.row.split)
        counted.setdefault(split, Counter())[str(piece.row.label)] += 1
        media[split].add(piece.example.media.path)
        if piece.flagged:
            persons[split].add(piece.example.media.path)
    return {
        split: {**counted[split], "media": len(media[split]), "reviewed": len(persons[split])}
        for split in sorted(counted)
    }


def _left_out(source: Source, divided: division.Division) -> dict[str, Any]:
    left = {
        "disputed": source.settled.disputed,
        "undecided": source.settled.undecided,
        "contradicted": source.settled.contradicted,
        "without_crops": source.bare,
        "golden": divided.golden,
    }
    return {"new_persons": {"media": source.new}, "left_out": left}
