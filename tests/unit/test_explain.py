"""Explanations point at what decides, and come out as pictures and a page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from skimage import data
from torch import nn

from core.errors import UsageError
from deepsweep import cli
from detector import architectures, artifact
from detector.grad_cam import grad_cam
from detector.spec import Input, View
from tests.unit.cards import card
from training import explain, explain_media, explain_pictures

SIDE = 64
SPEC = Input(size_px=SIDE, crop_margin=0.2, mean=(0.0,) * 3, std=(1.0,) * 3)


class Red(nn.Module):
    """Its logit is how red the crop is; works in place, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        nn.init.zeros_(self.conv.bias)
        self.conv.weight.data = torch.tensor([1.0, -0.5, -0.5]).view(1, 3, 1, 1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(crops)).mean((1, 2, 3))


@pytest.fixture(scope="module")
def red_corner() -> np.ndarray:
    """Grey noise, red in its upper left quarter."""
    crop = np.random.default_rng(0).integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
    crop[: SIDE // 2, : SIDE // 2] = (230, 20, 20)
    return crop


def red_score(crops: np.ndarray) -> np.ndarray:
    corner = crops[:, : SIDE // 2, : SIDE // 2].astype(float)
    return (corner[..., 0] - corner[..., 1]).mean((1, 2)) / 255


def inside(found: np.ndarray) -> tuple[float, float]:
    corner = np.zeros((SIDE, SIDE), bool)
    corner[: SIDE // 2, : SIDE // 2] = True
    return float(found[corner].mean()), float(found[~corner].mean())


def test_grad_cam_lights_up_where_the_evidence_is(red_corner: np.ndarray) -> None:
    found = grad_cam(Red(), red_corner, SPEC)
    within, outside = inside(found)
    assert (found.shape, found.min(), found.max()) == ((SIDE, SIDE), 0, pytest.approx(1))
    assert within > 10 * outside


def test_what_speaks_for_fake_does_not_speak_for_real(red_corner: np.ndarray) -> None:
    assert grad_cam(Red(), red_corner, SPEC, towards_fake=False).max() == 0


def test_looking_leaves_the_network_as_it_was(red_corner: np.ndarray) -> None:
    network = Red().requires_grad_(False)
    grad_cam(network, red_corner, SPEC)
    assert not any(layer._forward_hooks for layer in network.modules())
    assert network.conv.weight.grad is None


def test_a_network_without_maps_is_refused(red_corner: np.ndarray) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 1), nn.Flatten(0))
    with pytest.raises(UsageError, match="no maps"):
        grad_cam(flat, red_corner, SPEC)


def test_the_first_maps_are_those_of_the_first_convolution(red_corner: np.ndarray) -> None:
    network = Red()
    pixels = torch.from_numpy(red_corner / 255).permute(2, 0, 1)[None].float()
    maps = explain.first_maps(network, red_corner, SPEC)
    assert maps == pytest.approx(network.conv(pixels)[0].detach().numpy(), abs=1e-6)


@pytest.fixture(scope="module")
def half_lit() -> np.ndarray:
    """Eight by eight squares of other brightness; the upper left ones are red on one side."""
    rng = np.random.default_rng(3)
    crop = np.kron(rng.integers(60, 200, (8, 8, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    crop[: SIDE // 2, : SIDE // 2, 1] //= 3
    return crop


def test_lime_finds_the_parts_that_raise_the_score(half_lit: np.ndarray) -> None:
    def score(crops: np.ndarray) -> np.ndarray:
        detail = crops[:, : SIDE // 2, : SIDE // 2].astype(float)
        return np.abs(detail - half_lit[: SIDE // 2, : SIDE // 2]).mean((1, 2, 3)) * -0.02 + 1

    found = explain.lime(score, half_lit, samples=300, segments=16)
    weights = found.weights[found.segments]
    within, outside = inside(weights)
    assert within > 5 * abs(outside)
    assert found.fit > 0.8


def test_lime_is_the_same_every_time(half_lit: np.ndarray) -> None:
    first, second = (explain.lime(red_score, half_lit, samples=100) for _ in range(2))
    assert np.array_equal(first.weights, second.weights)


def test_a_grid_shows_every_map() -> None:
    maps = np.stack([np.full((4, 4), n, np.float32) for n in range(5)])
    picture = explain_pictures.grid(maps)
    tile = explain_pictures.TILE_PX + 2
    assert picture.shape == (2 * tile, 3 * tile, 3)


def test_the_most_suspicious_frames_and_faces_are_chosen() -> None:
    crop = np.zeros((4, 4, 3), np.uint8)
    faces = [
        explain_media.ScoredFace(frame=frame, pts_s=0.0, number=number, score=score, crop=crop)
        for frame, number, score in ((0, 0, 0.2), (1, 0, 0.9), (1, 1, 0.1), (2, 0, 0.5))
    ]
    chosen = explain_media.choose(faces, explain_media.Options(frames=2, faces=2))
    assert [(face.frame, face.number) for face in chosen] == [(1, 0), (2, 0)]
    asked = explain_media.choose(faces, explain_media.Options(frame=1, face=1))
    assert [(face.frame, face.number) for face in asked] == [(1, 1)]
    with pytest.raises(UsageError, match="0:0, 1:0, 1:1, 2:0"):
        explain_media.choose(faces, explain_media.Options(frame=7))


@pytest.fixture(scope="module")
def che_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("che")
    torch.manual_seed(2)
    artifact.save(folder, architectures.build("che-cnn"), card())
    return folder


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Her name is chosen to break a page that does not escape."""
    path = tmp_path_factory.mktemp("media") / "<b>&astronaut.png"
    cv2.imwrite(str(path), data.astronaut()[..., ::-1])
    return path


@pytest.mark.parametrize("name", ["default", "che-cnn"])
def test_a_face_becomes_pictures_and_a_page(
    name: str, astronaut: Path, che_folder: Path, tmp_path: Path
) -> None:
    if name == "default" and not (artifact.DEFAULT_FOLDER / artifact.CARD_FILE).exists():
        pytest.skip("this checkout has no shipped model")
    model = "default" if name == "default" else str(che_folder)
    arguments = ["explain", str(astronaut), "--out", str(tmp_path), "--model", model]
    result = CliRunner().invoke(cli, [*arguments, "--samples", "50"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "index.html").read_text()
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(pictures) == 5
    assert all(f'src="{picture}"' in page for picture in pictures)
    assert all(cv2.imread(str(tmp_path / picture)).std() > 1 for picture in pictures)
    assert "&lt;b&gt;&amp;astronaut" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("views", "caption"),
    [
        ((), "What the network sees<"),
        (
            (View(margin=0.04), View(margin=0.15, mirrored=True)),
            "What the network sees: the first of 2 views, margin 4%<",
        ),
    ],
    ids=["one crop", "two views"],
)
def test_the_page_says_which_crop_is_explained(
    views: tuple[View, ...], caption: str, astronaut: Path, tmp_path: Path
) -> None:
    spec = card().input.model_copy(update={"views": views})
    artifact.save(tmp_path, architectures.build("che-cnn"), card(input=spec))
    arguments = ["explain", str(astronaut), "--out", str(tmp_path), "--model", str(tmp_path)]
    result = CliRunner().invoke(cli, [*arguments, "--samples", "50"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert caption in (tmp_path / "index.html").read_text()


def test_a_picture_without_a_face_explains_nothing(che_folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200, 3), 90, np.uint8))
    arguments = ["explain", str(tmp_path / "wall.png"), "--out", str(tmp_path / "why")]
    result = CliRunner().invoke(cli, [*arguments, "--model", str(che_folder)])
    assert (result.exit_code, (tmp_path / "why").exists()) == (1, False)
    assert "no usable face" in result.stderr
