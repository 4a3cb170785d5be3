"""What belongs together stands in one split, and nothing of a golden set is learnt from."""

from __future__ import annotations

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


def test_groups_are_drawn_by_their_names_and_stay_where_they_were(tmp_path: Path) -> None:
    few = pieces(tmp_path, [row(number) for number in range(1, 40)])
    more = few + pieces(tmp_path, [row(number) for number in range(40, 60)])
    first = splits(division.divide(few, [], [], tmp_path))
    later = splits(division.divide(more, [], [], tmp_path))
    assert set(first.values()) == {Split.TRAIN, Split.VALIDATION, Split.TEST}
    assert {number: later[number] for number in first} == first


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


def test_a_long_track_is_thinned_evenly() -> None:
    frames = [row(number, frame_index=number).crop for number in range(24)]
    kept = [crop.frame_index for crop in material.thin(frames, 8)]
    assert kept == [0, 3, 6, 9, 12, 15, 18, 21]
    assert material.thin(frames[:3], 8) == frames[:3]
