"""Faces in a real picture: NASA's portrait of Eileen Collins, which scikit-image carries."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from skimage import data

from detector.faces import FaceFinder, Square, crop, crop_transform, square

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return data.astronaut()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def test_finds_the_face_with_its_landmarks_inside_the_box(
    finder: FaceFinder, portrait: Pixels
) -> None:
    (faces,) = finder.find([portrait])
    (face,) = faces
    x1, y1, x2, y2 = face.box
    left_eye, right_eye, _, mouth_left, _ = face.landmarks
    assert face.confidence > 0.99
    assert 150 < x1 < x2 < 300
    assert 30 < y1 < y2 < 220
    assert left_eye[0] < right_eye[0]
    assert left_eye[1] < mouth_left[1]
    assert all(x1 < x < x2 and y1 < y < y2 for x, y in face.landmarks)


def test_answers_in_the_order_given_whatever_the_sizes(
    finder: FaceFinder, portrait: Pixels
) -> None:
    empty = np.full((300, 200, 3), 90, np.uint8)
    small = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA).astype(np.uint8)
    found = finder.find([empty, portrait, small, empty, portrait])
    assert [len(faces) for faces in found] == [0, 1, 1, 0, 1]
    assert found[1][0].box == pytest.approx(found[4][0].box)


def test_a_large_frame_is_reduced_and_the_box_lies_on_the_full_frame(
    finder: FaceFinder, portrait: Pixels
) -> None:
    large = cv2.resize(portrait, (2048, 2048), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    (small_face,), (large_face,) = finder.find([portrait, large])
    assert np.array(large_face.box) / 4 == pytest.approx(np.array(small_face.box), abs=6)


@pytest.mark.parametrize("shape", [(1, 1), (12, 500), (31, 31), (5000, 3)])
def test_frames_too_small_for_a_face_give_none(finder: FaceFinder, shape: tuple[int, int]) -> None:
    assert finder.find([np.zeros((*shape, 3), np.uint8)]) == [()]


def test_no_frames_give_no_answers(finder: FaceFinder) -> None:
    assert finder.find([]) == []


def test_faces_under_the_smallest_side_are_not_judged(portrait: Pixels) -> None:
    assert FaceFinder(min_face_px=200).find([portrait]) == [()]


def test_the_square_is_centred_and_widened_on_both_sides() -> None:
    assert square((10, 20, 30, 60), 0.25) == Square(left=-10, top=10, side=60)


def test_a_crop_over_the_edge_repeats_the_edge(portrait: Pixels) -> None:
    cut = crop(portrait, (0, 0, 40, 40), 0.5, 80)
    assert cut.shape == (80, 80, 3)
    assert (cut[:20, :20] == portrait[0, 0]).all()
    assert (cut[20:60, 20:60] == portrait[:40, :40]).all()


def test_a_square_outside_the_frame_is_refused(portrait: Pixels) -> None:
    with pytest.raises(ValueError, match="outside a frame"):
        crop(portrait, (600, 600, 640, 640), 0.0, 32)


def test_the_transform_maps_frame_points_to_where_the_crop_shows_them() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(image, (150, 220), 6, (255, 255, 255), -1)
    box = (100.0, 150.0, 240.0, 300.0)
    shown = crop(image, box, 0.3, 97)[..., 0].astype(float)
    rows, columns = np.indices(shown.shape)
    centre = np.array([(columns * shown).sum(), (rows * shown).sum()]) / shown.sum()
    assert crop_transform(box, 0.3, 97) @ [150, 220, 1] == pytest.approx(centre, abs=0.3)
