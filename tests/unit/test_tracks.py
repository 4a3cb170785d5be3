"""Who is who over the frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data, transform

from detector.faces import Face
from detector.tracks import MAX_GAP_FRAMES, Tracker

Pixels = npt.NDArray[np.uint8]
WOMAN = data.astronaut()[60:200, 160:290]
#: Someone else, as far as pixels go: a rock surface with other light.
OTHER = np.repeat(data.moon()[200:340, 200:330, None], 3, axis=2)


def scene(*places: tuple[Pixels, int, int]) -> tuple[Pixels, tuple[Face, ...]]:
    """Pictures put at (left, top) on a grey wall, with their boxes."""
    wall = np.full((480, 640, 3), 128, np.uint8)
    faces = []
    for picture, left, top in places:
        height, width = picture.shape[:2]
        wall[top : top + height, left : left + width] = picture
        box = (float(left), float(top), float(left + width), float(top + height))
        faces.append(Face(box=box, landmarks=np.zeros((5, 2), np.float32), confidence=1.0))
    return wall, tuple(faces)


def test_a_person_who_moves_keeps_the_number() -> None:
    tracker = Tracker()
    assert [tracker.add(*scene((WOMAN, left, 100)))[0] for left in (20, 90, 160, 230)] == [0] * 4


def test_two_people_keep_their_numbers_when_the_detector_names_them_in_another_order() -> None:
    tracker = Tracker()
    assert tracker.add(*scene((WOMAN, 40, 100), (OTHER, 300, 100))) == (0, 1)
    assert tracker.add(*scene((OTHER, 310, 110), (WOMAN, 50, 100))) == (1, 0)


def test_another_face_at_the_same_place_after_a_cut_is_another_person() -> None:
    tracker = Tracker()
    tracker.add(*scene((WOMAN, 200, 100)))
    assert tracker.add(*scene((OTHER, 330, 180))) == (1,)


def test_a_short_absence_is_bridged_and_a_long_one_is_not() -> None:
    nobody = scene()
    for absence, number in ((MAX_GAP_FRAMES - 1, 0), (MAX_GAP_FRAMES, 1)):
        tracker = Tracker()
        tracker.add(*scene((WOMAN, 200, 100)))
        for _ in range(absence):
            assert tracker.add(*nobody) == ()
        assert tracker.add(*scene((WOMAN, 200, 100))) == (number,)


def test_one_track_never_takes_two_faces_of_a_frame() -> None:
    tracker = Tracker()
    tracker.add(*scene((WOMAN, 200, 100)))
    assert sorted(tracker.add(*scene((WOMAN, 190, 100), (WOMAN, 330, 100)))) == [0, 1]


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_head_that_comes_nearer_or_goes_away_is_the_same(factor: float) -> None:
    tracker = Tracker()
    tracker.add(*scene((WOMAN, 200, 100)))
    shape = (int(WOMAN.shape[0] * factor), int(WOMAN.shape[1] * factor))
    scaled = (transform.resize(WOMAN, shape, anti_aliasing=True) * 255).astype(np.uint8)
    assert tracker.add(*scene((scaled, 190, 90))) == (0,)


def test_a_frame_that_comes_late_is_held_against_the_faces_next_to_it() -> None:
    tracker = Tracker()
    for frame, left in ((0, 20), (20, 420)):
        tracker.add(*scene((WOMAN, left, 100)), frame)
    walk = {10: 220, 5: 120, 15: 320}
    numbers = {tracker.add(*scene((WOMAN, left, 100)), frame) for frame, left in walk.items()}
    assert len(numbers) == 1


def test_the_numbers_do_not_depend_on_the_order_in_which_frames_come() -> None:
    scenes = {index: scene((WOMAN, 40 + 20 * index, 100), (OTHER, 400, 60)) for index in range(6)}
    for order in (range(6), (1, 4, 0, 2, 3, 5)):
        tracker = Tracker()
        assert {tracker.add(*scenes[index], index) for index in order} == {(0, 1)}
