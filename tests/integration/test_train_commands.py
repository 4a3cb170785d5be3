"""Training as a person asks for it: published systems, searches and studies by their commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deepsweep import cli
from detector import artifact
from tests.integration.portraits import write_set
from training import published
from training.events import FOLDER as EVENTS

RANGES = """
[search]
trials = 3
fraction = 1.0
learning_rate = [1e-4, 1e-3]
weight_decay = [0.0, 1e-2]
dropout = [0.1, 0.5]
batch = [2, 4]
"""
#: One person trains, the other validates.
DIVISION = """
[validation]
groups = ["hopper"]
share = 0.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled portraits below `data`, and recipes of two small systems that divide them."""
    folder = tmp_path_factory.mktemp("commands")
    write_set(folder / "data" / "train")
    for name in ("spagnola-baseline", "che-cnn"):
        text = (published.FOLDER / f"{name}.toml").read_text(encoding="utf-8")
        (folder / f"{name}.toml").write_text(text + DIVISION + RANGES, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> Result:
    asked = [part.format(folder=folder) for part in arguments]
    asked += ["--data", str(folder / "data"), "--cache", str(folder / "cache"), "--workers", "0"]
    return CliRunner().invoke(cli, asked, catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, Result]:
    out = folder / "run"
    few = ("--epochs", "2", "--steps", "1", "--batch", "4", "--name", "baseline", "--json")
    return out, run(folder, "train", "{folder}/spagnola-baseline.toml", "--out", str(out), *few)


def test_a_published_system_becomes_a_model_version_like_any_other(
    trained: tuple[Path, Result],
) -> None:
    out, result = trained
    assert result.exit_code == 0, result.output
    _, card = artifact.load(out / "model")
    assert json.loads(result.stdout) == json.loads(card.model_dump_json())
    assert (card.reference, card.architecture) == ("baseline@1", "spagnola-baseline")
    best = json.loads((out / "checkpoint" / "progress.json").read_text())["best_step"]
    assert (card.training.recipe, card.training.steps) == ("spagnola-baseline", best)
    (source,) = card.training.data
    assert (source.real, source.fake) == (2, 2)
    (of_all,) = [one for one in card.evaluations if one.source == "all"]
    assert (of_all.on, of_all.medium, of_all.real, of_all.fake) == ("held-out", "image", 2, 2)


def test_what_was_not_held_out_stays_uncertain(trained: tuple[Path, Result]) -> None:
    _, card = artifact.load(trained[0] / "model")
    assert card.operating.image.real_media == 2
    assert (card.operating.video.real_below, card.operating.video.fake_from) == (0.0, 1.0)


def test_a_run_leaves_curves_and_events(trained: tuple[Path, Result]) -> None:
    out, result = trained
    assert (out / "curves.png").stat().st_size > 10_000
    (events,) = (out / EVENTS).iterdir()
    assert b"validation/auc" in events.read_bytes()
    assert "starts from random weights" in result.stderr
    assert "step 2: loss" in result.stderr


def test_a_search_ranks_its_trials_and_goes_on_where_it_was_stopped(folder: Path) -> None:
    asked = ("search", "{folder}/che-cnn.toml", "--out", "{folder}/search", "--trials", "2")
    few = ("--epochs", "1", "--steps", "1", "--fraction", "1.0")
    result = run(folder, *asked, *few, "--json")
    assert result.exit_code == 0, result.output
    trials = json.loads(result.stdout)
    assert sorted(trial["number"] for trial in trials) == [0, 1]
    assert [trial["figure"] for trial in trials] == sorted(trial["figure"] for trial in trials)
    assert json.loads((folder / "search" / "search.json").read_text()) == trials
    assert (folder / "search" / "search.png").stat().st_size > 10_000
    again = run(folder, *asked, *few)
    assert "validation loss" in again.stdout
    assert f"{trials[0]['figure']:.4f}" in again.stdout


def test_a_study_tells_each_change_beside_the_document(folder: Path) -> None:
    result = run(
        folder, "study", "augmentation", "{folder}/spagnola-baseline.toml",
        "--out", "{folder}/study", "--epochs", "1", "--steps", "1", "--only", "zoom",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads((folder / "study" / "study.json").read_text())
    assert [(row["change"], row["documented"]) for row in told] == [("none", None), ("zoom", -0.05)]
    assert set(told[1]["accuracy_change"]) == {"value", "low", "high"}
    assert "-5%" in result.stdout
    assert (folder / "study" / "study.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "default", "--epochs", "2"), "only --steps"),
        (("train", "che-cnn", "--start", "{folder}/che-cnn.toml"), "--start is not for it"),
        (("train", "che-cnn", "--name", "Che CNN"), "cannot name a model"),
        (("train", "no-such-recipe"), "no recipe"),
        (("search", "salpekar-cffn"), "[search]"),
        (("search", "default"), "does not train in phases"),
        (("study", "augmentation", "--only", "blur"), "not studied"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_trained(
    folder: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    result = run(folder, *arguments, "--out", "{folder}/never")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (folder / "never").exists()


def test_labelled_media_are_asked_for(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["train", "che-cnn", "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "--data FOLDER, or --snapshot NAME" in result.stderr


@pytest.mark.parametrize("command", [("train",), ("search",), ("study", "augmentation")])
def test_help_lists_the_recipes_that_the_command_takes(command: tuple[str, ...]) -> None:
    text = CliRunner().invoke(cli, [*command, "--help"]).output
    listed = text[text.index("Recipes:") :]
    assert "hansson-cnn" in listed
    assert ("default" in listed) == (command == ("train",))
    assert ("salpekar-cffn" in listed) == (command != ("search",))
    assert "Examples:" in text
