"""What belongs together stands in one split, and nothing of a golden set is learnt from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.vocabulary import Label, MediaKind, Split
from db.labels import CropRow, ExampleRow
from training import division, material
from training.material import Piece

SIDE_PX = 96


def row(number: int, *, reviewed: bool = True, **changes: object) -> ExampleRow:
    given: dict[str, object] = {
        "id": number,
        "uri": f"file:///{number}.png",
        "sha256": bytes(32),
        "item_id": number,
        "verdict_id": number,
        "media_id": number,
        "media_kind": MediaKind.IMAGE,
        "track": 0,
        "frame_index": 0,
        "face_index": 0,
        "box": {"box": [24, 24, 72, 72], "landmarks": [[40, 40]] * 5},
        "width": SIDE_PX,
        "person": None,
        "source": None,
        "licence": None,
        "kind": None,
        "generator": None,
    }
    split = changes.pop("split", Split.TRAIN)
    assert isinstance(split, Split)
    return ExampleRow(
        crop=CropRow(**given | changes),
        label=Label.FAKE if number % 2 else Label.REAL,
        split=split,
        review_id=number if reviewed else None,
    )


def pieces(folder: Path, rows: list[ExampleRow], pictures: list[int] | None = None) -> list[Piece]:
    """Each with a picture of its own, unless the same number says otherwise."""
    found = []
    for number, each in zip(pictures or [one.crop.id for one in rows], rows, strict=True):
        file = f"{each.crop.id}.png"
        scene = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / file), cv2.resize(scene, (SIDE_PX, SIDE_PX)))
        found.append(Piece(row=each, example=material.example(each, file)))
    return found


def splits(divided: division.Division) -> dict[int, Split]:
    return {piece.row.crop.id: piece.row.split for piece in divided.pieces}


def counts(divided: division.Division) -> Counter[tuple[Split, Label]]:
    return Counter((piece.row.split, piece.row.label) for piece in divided.pieces)


def before(divided: division.Division, *, forgotten: int = 0) -> division.Before:
    """What a model was trained on; the crops of the first `forgotten` media are gone since."""
    items = {piece.row.crop.item_id or 0: piece.row.split for piece in divided.pieces}
    kept = {item: split for item, split in items.items() if item > forgotten}
    return division.Before(items=kept, media=set(items))


def test_groups_are_drawn_by_their_names_and_stay_where_they_were(tmp_path: Path) -> None:
    few = pieces(tmp_path, [row(number) for number in range(1, 40)])
    more = few + pieces(tmp_path, [row(number) for number in range(40, 60)])
    known = division.divide(few, [], [], tmp_path)
    first, later = splits(known), splits(division.divide(more, [], [], tmp_path, before(known)))
    assert set(first.values()) == {Split.TRAIN, Split.VALIDATION, Split.TEST}
    assert {number: later[number] for number in first} == first
    drawn = {number: division.drawn(f"media-{number}") for number in first}
    assert {number for number in first if first[number] is not drawn[number]} <= {
        number for number in first if drawn[number] is Split.TRAIN
    }


@pytest.mark.parametrize("begin", range(1, 200, 20))
def test_the_fewest_labels_are_enough_of_each_class_for_each_part_whatever_their_names(
    tmp_path: Path, begin: int
) -> None:
    found = counts(
        division.divide(
            pieces(tmp_path, [row(number) for number in range(begin, begin + 20)]), [], [], tmp_path
        )
    )
    for label in (Label.REAL, Label.FAKE):
        assert found[Split.TEST, label] >= division.FEWEST_HELD_OUT
        assert found[Split.VALIDATION, label] >= 1
        assert found[Split.TRAIN, label] >= 1


@pytest.mark.parametrize("forgotten", [0, 40])
def test_nothing_that_was_trained_on_is_held_out_later_to_make_up_for_few(
    tmp_path: Path, forgotten: int
) -> None:
    """Known by its item; and by its bytes, where the crops of its item are gone."""
    old = pieces(tmp_path, [row(number) for number in range(1, 41)])
    first = division.divide(old, [], [], tmp_path)
    trained = {number for number, split in splits(first).items() if split is Split.TRAIN}
    taken = [each for each in old if each.row.crop.id in trained]
    later = division.divide(taken, [], [], tmp_path, before(first, forgotten=forgotten))
    assert set(splits(later).values()) == {Split.TRAIN}


def test_a_class_with_one_group_stays_in_training(tmp_path: Path) -> None:
    reals = pieces(tmp_path, [row(number) for number in range(2, 42, 2)])
    name = next(n for n in range(1, 99, 2) if division.drawn(f"media-{n}") is Split.TRAIN)
    fake = pieces(tmp_path, [row(name)])
    found = splits(division.divide([*reals, *fake], [], [], tmp_path))
    assert found[name] is Split.TRAIN


@pytest.mark.parametrize("shared", [{"media_id": 7}, {"person": "Ada"}, {}])
def test_what_belongs_together_is_not_taken_apart(
    tmp_path: Path, shared: dict[str, object]
) -> None:
    """The same bytes, the same person, or the same picture."""
    rows = [row(number, **shared) for number in range(1, 21)]
    same = None if shared else [1] * 20
    found = splits(division.divide(pieces(tmp_path, rows, same), [], [], tmp_path))
    assert len(set(found.values())) == 1


def test_what_belongs_to_replayed_data_goes_where_that_is(tmp_path: Path) -> None:
    replayed = pieces(tmp_path, [row(1, reviewed=False, split=Split.VALIDATION)])
    flagged = pieces(tmp_path, [row(101)], [1])
    found = splits(division.divide(flagged, replayed, [], tmp_path))
    assert found == {1: Split.VALIDATION, 101: Split.VALIDATION}


def test_nothing_of_a_golden_set_is_learnt_from(tmp_path: Path) -> None:
    golden = pieces(tmp_path, [row(1, reviewed=False, split=Split.GOLDEN)])
    flagged = pieces(tmp_path, [row(101), row(102)], [1, 2])
    copied = [replace(each, row=replace(each.row, split=Split.TRAIN)) for each in golden]
    divided = division.divide(flagged, copied, golden, tmp_path)
    assert (set(splits(divided)), divided.golden) == ({102}, 2)


@pytest.mark.parametrize(
    ("shared", "pictures_of", "groups"),
    [({}, [1, 2, 3, 1, 4, 2], 4), ({"person": "Ada"}, [1, 2, 3, 4, 5, 6], 1), ({}, None, 6)],
)
def test_what_looks_the_same_is_one_witness_at_the_gate(
    tmp_path: Path, shared: dict[str, object], pictures_of: list[int] | None, groups: int
) -> None:
    made = pieces(tmp_path, [row(number, **shared) for number in range(1, 7)], pictures_of)
    told = [piece.example for piece in made]
    found = division.joined(told, tmp_path)
    assert len({one.media.group for one in found}) == groups
    assert [one.media.path for one in found] == [one.media.path for one in told]


def test_a_long_track_is_thinned_evenly() -> None:
    frames = [row(number, frame_index=number).crop for number in range(24)]
    kept = [crop.frame_index for crop in material.thin(frames, 8)]
    assert kept == [0, 3, 6, 9, 12, 15, 18, 21]
    assert material.thin(frames[:3], 8) == frames[:3]
