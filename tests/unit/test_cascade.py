"""The cascade against facenet-pytorch's own, and on frames that must not upset it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from facenet_pytorch import MTCNN
from skimage import data

from detector import mtcnn
from detector.cascade import Cascade, Found, load

Pixels = npt.NDArray[np.uint8]
SMALLEST_PX = 24


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return load(device=torch.device("cpu"))


@pytest.fixture(scope="module")
def facenet() -> MTCNN:
    return MTCNN(keep_all=True, min_face_size=SMALLEST_PX, select_largest=False).eval()


def portrait(side_px: int) -> Pixels:
    method = cv2.INTER_AREA if side_px < 512 else cv2.INTER_CUBIC
    return cv2.resize(data.astronaut(), (side_px, side_px), interpolation=method).astype(np.uint8)


def gathering() -> Pixels:
    """Five times the same face, from small to large, two of them mirrored."""
    frame = np.full((700, 900, 3), 70, np.uint8)
    for index, (side, x, y) in enumerate(
        [(512, 0, 0), (256, 560, 20), (180, 700, 400), (350, 330, 350), (120, 40, 560)]
    ):
        face = portrait(side)[: 700 - y, : 900 - x]
        frame[y : y + face.shape[0], x : x + face.shape[1]] = face[:, :: -1 if index % 2 else 1]
    return frame


def overlap(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.maximum(0, high - low))
    return float(shared / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared))


FRAMES = {f"portrait of {side} px": portrait(side) for side in (96, 200, 333, 512, 768)} | {
    "wide cut": portrait(512)[40:260],
    "tall cut": portrait(512)[:, 130:330],
    "several faces": gathering(),
    "dark": portrait(400) // 4,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_finds_what_facenet_finds(cascade: Cascade, facenet: MTCNN, frame: Pixels) -> None:
    (found,) = cascade.find([frame], [SMALLEST_PX])
    boxes, probabilities, landmarks = facenet.detect(frame, landmarks=True)
    sure = [index for index, p in enumerate(probabilities) if p is not None and p > 0.9]
    for index in sure:
        match = max(range(len(found.boxes)), key=lambda i: overlap(found.boxes[i], boxes[index]))
        side = boxes[index][2] - boxes[index][0]
        assert overlap(found.boxes[match], boxes[index]) > 0.75
        assert found.probabilities[match] == pytest.approx(probabilities[index], abs=0.05)
        assert found.landmarks[match] == pytest.approx(landmarks[index], abs=0.06 * side)
    assert sum(found.probabilities > 0.9) == len(sure) > 0


def test_finds_all_of_several_faces(cascade: Cascade) -> None:
    (found,) = cascade.find([gathering()], [SMALLEST_PX])
    assert sum(found.probabilities > 0.95) >= 4
    assert (np.diff(found.probabilities) <= 0).all()


def test_a_frame_gives_the_same_alone_and_among_others(cascade: Cascade) -> None:
    frames = [portrait(300), gathering(), np.zeros((200, 640, 3), np.uint8), portrait(700)]
    smallest = [20.0, 30.0, 20.0, 40.0]
    together = cascade.find(frames, smallest)
    for frame, px, among in zip(frames, smallest, together, strict=True):
        (alone,) = cascade.find([frame], [px])
        assert alone.boxes == pytest.approx(among.boxes, abs=0.1)
        assert alone.probabilities == pytest.approx(among.probabilities, abs=1e-4)


def test_a_frame_wider_than_a_window_is_seen_across_its_seams(cascade: Cascade) -> None:
    """The same face at every place of a wide frame, so that it falls on seams too."""
    face = portrait(200)[:150, 40:160]
    for left in range(0, 1700, 187):
        frame = np.full((220, 1900, 3), 127, np.uint8)
        frame[30:180, left : left + 120] = face
        (found,) = cascade.find([frame], [20])
        (x1, _, x2, _), *others = found.boxes
        assert not others
        assert (x1 + x2) / 2 == pytest.approx(left + 48, abs=8)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 400), (400, 1), (11, 11), (19, 19), (20, 20), (21, 3000), (3000, 23)]
)
def test_small_and_thin_frames_give_nothing_and_do_no_harm(
    cascade: Cascade, shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    (found,) = cascade.find([noise], [20])
    assert len(found.boxes) == len(found.probabilities) == len(found.landmarks)
    assert sum(found.probabilities > 0.99) == 0


def test_a_huge_frame_is_searched_for_large_faces(cascade: Cascade) -> None:
    frame = cv2.resize(data.astronaut(), (5000, 5000)).astype(np.uint8)
    (found,) = cascade.find([frame], [300])
    assert sum(found.probabilities > 0.99) == 1


def test_a_picture_full_of_faces_is_searched_within_bounds(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for few cells the likeliest are kept, so that most faces are still found."""
    crowd = np.tile(cv2.resize(portrait(512)[40:240, 110:310], (40, 40)), (8, 12, 1))
    (all_found,) = cascade.find([crowd], [20])
    monkeypatch.setattr("detector.cascade.MOST_CELLS", 200)
    (found,) = cascade.find([crowd], [20])
    assert len(all_found.boxes) >= 80
    assert 20 < len(found.boxes) <= len(all_found.boxes)


def test_a_grey_level_here_and_there_hardly_moves_a_box(cascade: Cascade) -> None:
    frame, rng = portrait(480), np.random.default_rng(5)
    (still,) = cascade.find([frame], [SMALLEST_PX])
    for _ in range(4):
        shaken = np.clip(frame + rng.integers(-1, 2, frame.shape), 0, 255).astype(np.uint8)
        (found,) = cascade.find([shaken], [SMALLEST_PX])
        assert overlap(found.boxes[0], still.boxes[0]) > 0.96


def test_more_frames_than_fit_at_a_time_keep_their_order(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [portrait(120), np.zeros((90, 90, 3), np.uint8), portrait(200)[:, 30:], portrait(150)]
    together = cascade.find(frames, [20] * 4)
    monkeypatch.setattr("detector.cascade.FRAMES_AT_A_TIME", 3)
    monkeypatch.setattr("detector.cascade.WINDOWS_AT_A_TIME", 1)
    for found, expected in zip(cascade.find(frames, [20] * 4), together, strict=True):
        assert found.boxes == pytest.approx(expected.boxes, abs=0.01)


def test_no_frames_and_no_candidates_give_empty_answers(cascade: Cascade) -> None:
    assert cascade.find([], []) == []
    blank = np.full((300, 400, 3), 128, np.uint8)
    for found in cascade.find([blank, blank], [20, 20]):
        assert isinstance(found, Found)
        assert found.boxes.shape == (0, 4)
        assert found.probabilities.shape == (0,)
        assert found.landmarks.shape == (0, 5, 2)


def test_the_networks_answer_as_facenets_do(facenet: MTCNN) -> None:
    """Same weights, other ends: the logit is the difference of facenet's two classes."""
    networks = mtcnn.load()
    for network, original, side in (
        (networks.propose, facenet.pnet, 40),
        (networks.refine, facenet.rnet, 24),
        (networks.output, facenet.onet, 48),
    ):
        pixels = cv2.resize(portrait(512)[20:240, 120:340], (side, side))[None]
        tensor = torch.from_numpy(pixels)
        with torch.inference_mode():
            ours = network(tensor).flatten(2).movedim(1, -1) if side == 40 else network(tensor)
            theirs = original((tensor.permute(0, 3, 1, 2).float() - 127.5) / 128)
        shifts, classes = theirs[0], theirs[-1]
        if side == 40:
            shifts, classes = (part.flatten(2).movedim(1, -1) for part in (shifts, classes))
        assert torch.allclose(ours[..., 0].sigmoid(), classes[..., 1], atol=1e-5)
        assert torch.allclose(ours[..., 1:5], shifts, atol=1e-4)
        if side == 48:
            assert torch.allclose(ours[..., 5:], theirs[1], atol=1e-4)
