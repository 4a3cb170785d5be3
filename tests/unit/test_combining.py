"""An ensemble made of finished runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from core.errors import UsageError
from detector import architectures
from training import checkpoint, combining, recipe, release
from training.checkpoint import Progress

SPLIT = {"train": ["a.png", "b.png"], "held_out": ["c.png"]}


def run(
    folder: Path,
    architecture: str = "mobilenet-v2",
    *,
    size_px: int = 64,
    split: dict[str, list[str]] = SPLIT,
    options: dict[str, bool] | None = None,
) -> Path:
    """A finished run with random weights."""
    plan = recipe.load("default")
    network = plan.network.model_copy(
        update={"architecture": architecture, "options": options or {}, "pretrained": ""}
    )
    shown = plan.input.model_copy(update={"size_px": size_px})
    plan = plan.model_copy(update={"network": network, "input": shown})
    module = architectures.build(architecture, **network.options)
    checkpoint.write_tensors(folder / "best.safetensors", module.state_dict())
    (folder / "recipe.json").write_text(plan.model_dump_json())
    (folder / "split.json").write_text(json.dumps(split))
    (folder / "checkpoint").mkdir()
    progress = Progress(recipe_sha256=plan.sha256, step=10, seconds=5.0, best=0.5, best_step=10)
    (folder / "checkpoint" / "progress.json").write_text(json.dumps(asdict(progress)))
    return folder


def network(folder: Path) -> torch.nn.Module:
    plan = release.read_plan(folder)
    module = architectures.build(plan.network.architecture, **plan.network.options)
    module.load_state_dict(checkpoint.read_tensors(folder / "best.safetensors"))
    return module.eval()


def test_an_ensemble_says_the_mean_of_what_its_members_say(tmp_path: Path):
    one, two = run(tmp_path / "one"), run(tmp_path / "two", "efficientnet-lite0")
    combining.combine([one, two], tmp_path / "both")
    crops = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        said = [network(folder)(crops) for folder in (one, two, tmp_path / "both")]
    assert torch.allclose(said[2], (said[0] + said[1]) / 2, atol=1e-6)
    assert not torch.allclose(said[0], said[1])


def test_an_ensemble_of_ensembles_asks_each_network_once(tmp_path: Path):
    one, two, three = (run(tmp_path / name) for name in ("one", "two", "three"))
    combining.combine([one, two], tmp_path / "both")
    combining.combine([tmp_path / "both", three], tmp_path / "all")
    crops = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        said = [network(folder)(crops) for folder in (one, two, three)]
        whole = network(tmp_path / "all")(crops)
    assert torch.allclose(whole, torch.stack(said).mean(0), atol=1e-6)


def test_its_run_tells_the_time_and_the_media_of_all(tmp_path: Path):
    one = run(tmp_path / "one")
    two = run(tmp_path / "two", split={"train": ["b.png", "d.png"], "held_out": ["c.png", "a.png"]})
    combining.combine([one, two], tmp_path / "both")
    told = json.loads((tmp_path / "both/checkpoint/progress.json").read_text())
    assert (told["step"], told["seconds"]) == (20, 10.0)
    split = json.loads((tmp_path / "both/split.json").read_text())
    assert split == {"train": ["a.png", "b.png", "d.png"], "held_out": ["c.png"]}


def test_what_one_held_out_another_must_not_have_been_trained_on(tmp_path: Path):
    one = run(tmp_path / "one")
    two = run(tmp_path / "two", split={"train": ["c.png"], "held_out": ["a.png"]})
    with pytest.raises(UsageError, match=r"trained on 1 media .* c\.png"):
        combining.combine([one, two], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_members_have_to_see_the_same_crops(tmp_path: Path):
    one, two = run(tmp_path / "one"), run(tmp_path / "two", size_px=96)
    with pytest.raises(UsageError, match="cuts or normalises"):
        combining.combine([one, two], tmp_path / "both")


@pytest.mark.parametrize(
    ("architecture", "options", "says"),
    [("spagnola-tuned", {}, "no ensemble can have"), ("mobilenet-v2", {"residual": True}, "built")],
)
def test_a_network_that_no_ensemble_knows_is_refused(
    tmp_path: Path, architecture: str, options: dict[str, bool], says: str
):
    one, two = run(tmp_path / "one"), run(tmp_path / "two", architecture, options=options)
    with pytest.raises(UsageError, match=says):
        combining.combine([one, two], tmp_path / "both")


def test_one_run_is_no_ensemble_and_a_folder_without_one_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match="two runs"):
        combining.combine([run(tmp_path / "one")], tmp_path / "both")
    with pytest.raises(UsageError, match="no finished run"):
        combining.combine([tmp_path / "one", tmp_path], tmp_path / "both")
