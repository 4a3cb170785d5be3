"""Which faces of an item are kept, and what their pictures show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from detector.faces import Face, crop, square
from detector.frames import Frame
from detector.keeping import Extent, Keeper, choose
from detector.spec import Input, View
from tests.unit.cards import card

RNG = np.random.default_rng(5)
#: 256 pixels, a margin of 0.2.
SPEC = card().input


@dataclass(frozen=True)
class Seen:
    frame_index: int
    logit: float
    track: int = 0
    face_index: int = 0


def a_face(left: float = 40.0, top: float = 30.0, side: float = 50.0) -> Face:
    points = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    return Face(
        box=(left, top, left + side, top + 1.2 * side),
        landmarks=points * side + np.float32([left, top]),
        confidence=0.99,
    )


def a_frame(index: int = 0, side: int = 200) -> Frame:
    image = RNG.integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Frame(index=index, pts_s=index / 10, image=image)


def kept(limit: int, frames: list[Frame], logits: list[float]) -> list[int]:
    keeper = Keeper(limit, SPEC)
    for frame, logit in zip(frames, logits, strict=True):
        keeper.cut(frame, [a_face()], [0])
        keeper.score(frame.index, 0, logit)
    return [face.frame_index for face in keeper.chosen()]


def test_the_most_suspicious_face_comes_first_and_then_the_farthest_in_time() -> None:
    faces = [Seen(index, logit) for index, logit in enumerate([0, 1, 9, 8, 7, 0, 0, 0, 0, 0])]
    assert [face.frame_index for face in choose(faces, 4)] == [2, 9, 5, 0]


def test_people_take_turns_the_most_suspicious_first() -> None:
    calm = [Seen(index, 0.0, track=0) for index in range(5)]
    loud = [Seen(index, 5.0 + index, track=1) for index in range(5)]
    chosen = choose([*calm, *loud], 4)
    assert [(face.track, face.frame_index) for face in chosen] == [(1, 4), (0, 0), (1, 0), (0, 4)]


def test_a_person_seen_twice_in_a_frame_is_not_kept_twice_in_one_place() -> None:
    faces = [Seen(3, 1.0), Seen(3, 2.0, face_index=1)]
    assert choose(faces, 9) == [faces[1], faces[0]]
    assert choose([], 9) == []


def test_of_a_long_film_no_more_than_a_few_are_held_and_the_highest_is_not_lost() -> None:
    logits = RNG.normal(size=300).tolist()
    logits[37] = 50.0
    keeper = Keeper(4, SPEC)
    held = []
    for index, logit in enumerate(logits):
        keeper.cut(a_frame(index, side=150), [a_face()], [0])
        keeper.score(index, 0, logit)
        held.append(len(keeper._scored))
    assert max(held) <= 24
    chosen = keeper.chosen()
    indices = [face.frame_index for face in chosen]
    assert len(indices) == 4
    assert 37 in indices
    assert [face.logit for face in chosen if face.frame_index == 37] == [50.0]
    assert max(indices) - min(indices) > 200  # spread over the film


def test_fewer_faces_than_the_limit_are_all_kept() -> None:
    assert kept(8, [a_frame(index) for index in (0, 4, 9)], [1.0, 2.0, 3.0]) == [0, 4, 9]


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.55])
def test_a_models_own_crop_can_be_cut_from_the_picture_pixel_by_pixel(margin: float) -> None:
    for left in (-9.0, 0.25, 40.7, 150.5):  # over the edge as well
        frame, face = a_frame(), a_face(left)
        keeper = Keeper(1, SPEC)
        keeper.cut(frame, [face], [3])
        keeper.score(0, 0, 1.0)
        (one,) = keeper.chosen()
        assert (one.track, one.pts_s) == (3, 0.0)
        wanted = crop(frame.image, face.box, margin, 64)
        np.testing.assert_array_equal(crop(one.image, one.box, margin, 64), wanted)


def test_a_large_face_is_reduced_with_its_box() -> None:
    frame, face = a_frame(side=900), a_face(100.0, 100.0, 400.0)
    keeper = Keeper(1, SPEC)
    keeper.cut(frame, [face], [0])
    keeper.score(0, 0, 1.0)
    (one,) = keeper.chosen()
    side = keeper.extent.side_px
    assert one.image.shape == (side, side, 3)
    step, corner = one.area.side / side, np.array([one.area.left, one.area.top])
    points = np.array([one.box[:2], one.box[2:], *one.landmarks])
    in_frame = (points + 0.5) * step - 0.5 + corner
    np.testing.assert_allclose(in_frame[:2].ravel(), face.box, atol=1e-3)
    np.testing.assert_allclose(in_frame[2:], face.landmarks, atol=1e-3)


def given(size_px: int, *margins: float) -> Input:
    views = tuple(View(margin=margin) for margin in margins[1:])
    return Input(
        size_px=size_px, crop_margin=margins[0], mean=(0.5,) * 3, std=(0.5,) * 3, views=views
    )


def test_the_picture_leaves_room_for_a_model_that_looks_at_more() -> None:
    assert Extent.of(given(64, 0.2)) == Extent(margin=0.6, side_px=384)
    assert Extent.of(given(64, 0.6)).margin == pytest.approx(0.9)
    assert Extent.of(given(64, 0.2, 0.1, 0.5)).margin == pytest.approx(0.8)


def test_the_narrowest_view_of_a_large_face_is_kept_finer_than_the_network_is_shown_it() -> None:
    for spec in (given(192, 0.15), given(192, 0.15, 0.15, 0.04), given(299, 0.0)):
        keeper, face = Keeper(1, spec), a_face(100.0, 100.0, 400.0)
        keeper.cut(a_frame(side=900), [face], [0])
        keeper.score(0, 0, 1.0)
        (one,) = keeper.chosen()
        tightest = min(view.margin for view in spec.shown)
        assert square(one.box, tightest).side >= 1.2 * spec.size_px
