"""`deepsweep train` and `evaluate` as a person runs them, on a few labelled faces."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from deepsweep import cli
from detector import architectures, artifact
from detector.score import Scorer
from training import calibrate, checkpoint, crops, evaluation
from training.judging import judge_media

pytestmark = pytest.mark.data

#: Of each label and source, this many stills; two more become short clips.
STILLS = 5
SOURCES = {"real": "MaxMassi/Face-Swapper", "fake": "KAdenrele/face_swapping"}
RECIPE = """
name = "tiny"
seed = 5
validate_every = 2
[input]
size_px = 64
crop_margin = 0.2
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[network]
architecture = "spagnola-tuned"
[validation]
groups = ["still-real-0", "still-fake-0", "clip-real-0", "clip-fake-0"]
share = 0.0
[batch]
pairs = 2
labelled = 1
kinds = { faceswap = 1.0 }
[synthesis]
methods = { self-blend = 1.0, edit-part = 1.0 }
side_px = 96
[augmentation]
[optimiser]
learning_rate = 1e-3
weight_decay = 0.01
steps = 4
warm_up_steps = 1
"""
MEMBERS = ("mobilenet-v2", "efficientnet-lite0")
VIEWS = """
[[input.views]]
margin = 0.04
[[input.views]]
margin = 0.04
mirrored = true
[[input.views]]
margin = 0.3
"""


@pytest.fixture(scope="module")
def data(media_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train set of 10 stills and 4 clips; the dev set is the same media."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for label, source in SOURCES.items():
        found = [
            medium
            for medium in crops.read_labels(media_root / "train")
            if (medium.label, medium.source) == (label, source)
        ]
        for number, medium in enumerate(found[: STILLS + 2]):
            still = number < STILLS
            suffix = Path(medium.path).suffix if still else ".mp4"
            kind = "still" if still else "clip"
            path = f"{'images' if still else 'videos'}/{label}/{number}{suffix}"
            (folder / "train" / path).parent.mkdir(parents=True, exist_ok=True)
            original = media_root / "train" / medium.path
            if still:
                (folder / "train" / path).symlink_to(original)
            else:
                write_clip(original, folder / "train" / path)
            group = f"{kind}-{label}-{number if still else number - STILLS}"
            rows.append([path, label, medium.kind, medium.generator, group, source, "test"])
    with (folder / "train" / "labels.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "kind", "generator", "group", "source", "licence"])
        writer.writerows(rows)
    (folder / "dev").symlink_to(folder / "train")
    return folder


def write_clip(picture: Path, path: Path) -> None:
    image = np.ascontiguousarray(cv2.imread(str(picture))[..., ::-1])
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.height, stream.width = (side // 2 * 2 for side in image.shape[:2])
        stream.pix_fmt = "yuv420p"
        for shift in range(4):
            shown = np.ascontiguousarray(np.roll(image, shift, 1))
            frame = av.VideoFrame.from_ndarray(shown[: stream.height, : stream.width])
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("run")
    (out / "tiny.toml").write_text(RECIPE)
    arguments = ["train", str(out / "tiny.toml"), "--data", str(data), "--out", str(out)]
    arguments += ["--cache", str(out / "cache"), "--workers", "0", "--name", "tiny", "--json"]
    return out, CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_training_ends_in_a_model_that_loads(trained: tuple[Path, Result]):
    out, result = trained
    assert result.exit_code == 0, result.output
    _, card = artifact.load(out / "model")
    assert json.loads(result.stdout) == json.loads(card.model_dump_json())
    assert (card.reference, card.architecture) == ("tiny@1", "spagnola-tuned")


def test_the_card_names_every_source_and_what_was_measured(trained: tuple[Path, Result]):
    _, card = artifact.load(trained[0] / "model")
    assert {(source.source, source.real, source.fake) for source in card.training.data} == {
        (SOURCES["real"], STILLS, 0),
        (SOURCES["fake"], 0, STILLS),
    }
    sizes = {(e.on, e.medium): (e.real, e.fake) for e in card.evaluations if e.source == "all"}
    assert sizes == {
        ("held-out", "image"): (1, 1),
        ("held-out", "video"): (1, 1),
        ("dev", "image"): (STILLS, STILLS),
        ("dev", "video"): (2, 2),
    }


def test_a_finished_run_is_released_again_with_other_views(
    trained: tuple[Path, Result], data: Path, tmp_path: Path
):
    first, out = trained[0], tmp_path / "run"
    shutil.copytree(first, out)
    viewed = RECIPE.replace("[network]", VIEWS + "[network]")
    (out / "tiny.toml").write_text(viewed)
    arguments = ["train", str(out / "tiny.toml"), "--data", str(data), "--out", str(out)]
    arguments += ["--cache", str(first / "cache"), "--workers", "0", "--name", "tiny", "--json"]
    result = CliRunner().invoke(cli, [*arguments, "--number", "2"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (_, before), (module, after) = (artifact.load(each / "model") for each in (first, out))

    assert [str(view) for view in after.input.shown] == ["4%", "4% mirrored", "30%"]
    assert after.weights_sha256 == before.weights_sha256
    assert after.training == before.training
    assert after.calibration != before.calibration
    held = json.loads((out / "split.json").read_text())["held_out"]
    media = evaluation.media_of(data / "train", held)
    judged = list(judge_media(media, data / "train", Scorer(module, after)))
    fitted = calibrate.fit(judged)
    assert (fitted.calibration, fitted.operating) == (after.calibration, after.operating)


def test_two_finished_runs_are_combined_into_one_model(
    trained: tuple[Path, Result], data: Path, tmp_path: Path
):
    members = [untrained(trained[0], tmp_path / name, name) for name in MEMBERS]
    arguments = [
        "combine",
        *map(str, members),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "both"),
    ]
    result = CliRunner().invoke(
        cli, [*arguments, "--name", "both", "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    _, card = artifact.load(tmp_path / "both" / "model")
    assert json.loads(result.stdout) == json.loads(card.model_dump_json())
    assert (card.reference, card.options) == ("both@1", {"members": "+".join(MEMBERS)})
    assert {(each.on, each.medium) for each in card.evaluations} >= {
        ("held-out", "image"),
        ("dev", "video"),
    }


def untrained(run: Path, folder: Path, architecture: str) -> Path:
    """A run like `run`, of another network with random weights."""
    shutil.copytree(run / "checkpoint", folder / "checkpoint")
    shutil.copy(run / "split.json", folder)
    plan = json.loads((run / "recipe.json").read_text())
    plan["network"] |= {"architecture": architecture, "options": {}}
    (folder / "recipe.json").write_text(json.dumps(plan))
    state = architectures.build(architecture).state_dict()
    checkpoint.write_tensors(folder / "best.safetensors", state)
    return folder


def test_held_out_media_never_trained(trained: tuple[Path, Result], data: Path):
    held = json.loads((trained[0] / "split.json").read_text())
    assert set(held["held_out"]) == {
        medium.path for medium in crops.read_labels(data / "train") if medium.group.endswith("-0")
    }
    assert set(held["held_out"]).isdisjoint(held["train"])


def test_evaluating_the_model_gives_the_cards_figures_again(
    trained: tuple[Path, Result], data: Path, tmp_path: Path
):
    model = trained[0] / "model"
    arguments = ["evaluate", str(model), "--data", str(data), "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    _, card = artifact.load(model)
    printed = json.loads(result.stdout)
    of_media = [row for row in printed["figures"] if row["unit"] == "media"]
    in_card = [one.model_dump(mode="json") for one in card.evaluations if one.on == "dev"]
    assert [row["figures"] for row in of_media] == [row["figures"] for row in in_card]
    assert json.loads((tmp_path / "evaluation.json").read_text()) == printed
    assert "ROC curve" in (tmp_path / "index.html").read_text()


def test_a_table_for_people_names_every_source(
    trained: tuple[Path, Result], data: Path, tmp_path: Path
):
    arguments = [
        *("evaluate", str(trained[0] / "model"), "--data", str(data)),
        *("--out", str(tmp_path)),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert all(source in result.stdout for source in ("all", *SOURCES.values()))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "no-such-recipe", "--data", "{data}", "--out", "{data}/x"], "no recipe"),
        (["evaluate", "{data}/train", "--data", "{data}"], "no model"),
        (["train", "--data", "{data}/train/images", "--out", "{data}/x"], "labels.csv"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(data: Path, arguments, sentence):
    result = CliRunner().invoke(cli, [part.format(data=data) for part in arguments])
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
