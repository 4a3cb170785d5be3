"""The loop: the loss falls, a stopped run ends in the same weights, the best average is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import ModelMissing, UsageError
from detector import architectures, views
from detector.spec import View
from tests.unit.training_cache import finished_run, medium, recipe, taught_recipe, write_cache
from training import batches, checkpoint, crops, fitting, networks, objective, published, validation
from training.published import Published
from training.recipe import Network, Optimiser, Recipe, Triplet, Validation

Plan = TypeVar("Plan", Recipe, Published)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    media = [medium(f"images/real/{n}.png") for n in range(6)]
    media += [medium(f"images/fake/{n}.png") for n in range(3)]
    return write_cache(tmp_path / "cache", media)


def score_of_weights(module: nn.Module) -> fitting.Figures:
    return {"score": sum(float(value.sum()) for value in module.parameters())}


def run(
    plan: Recipe,
    cache: Path,
    out: Path,
    stop_at: int | None = None,
    validate: fitting.Validate | None = None,
) -> tuple[nn.Module, list[float]]:
    losses: list[float] = []

    def on_step(report: fitting.StepReport) -> None:
        losses.append(report.loss)
        if report.step == stop_at:
            raise KeyboardInterrupt

    steps = batches.Steps(crops.load_examples(cache), cache, plan)
    module, _ = fitting.fit(
        plan,
        steps,
        cache,
        out,
        validate=validate or score_of_weights,
        workers=0,
        on_step=on_step,
    )
    return module, losses


@pytest.mark.parametrize("stop_at", [3, 4, 5])
def test_a_run_that_was_killed_ends_in_the_same_weights(cache: Path, tmp_path: Path, stop_at: int):
    whole, _ = run(recipe(), cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(recipe(), cache, tmp_path / "killed", stop_at=stop_at)
    resumed, _ = run(recipe(), cache, tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("stop_at", [3, 5])
def test_a_run_that_was_killed_in_either_phase_ends_in_the_same_weights(
    cache: Path, tmp_path: Path, stop_at: int
):
    finished_run(tmp_path / "teacher", 1)
    plan = taught_recipe("teacher")
    whole, _ = run(plan, cache, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(plan, cache, tmp_path / "killed", stop_at=stop_at)
    resumed, _ = run(plan, cache, tmp_path / "killed")
    assert list(whole.state_dict()) == list(resumed.state_dict())
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_every_ingredient_of_a_step_changes_where_it_leads(cache: Path, tmp_path: Path):
    finished_run(tmp_path / "teacher", 1)
    every = taught_recipe("teacher").optimiser
    ends = []
    for part in ("sharpness", "triplet", "distillation", "guidance", "steps"):
        changes = {part: getattr(every, part), "steps": 2, "guided_layer": every.guided_layer}
        plan = recipe(optimiser=recipe().optimiser.model_copy(update=changes))
        module, _ = run(plan, cache, tmp_path / part)
        ends.append(torch.cat([value.flatten() for value in module.parameters()]))
    assert len({tuple(end.tolist()) for end in ends}) == len(ends)


def test_the_classifier_rests_while_crops_are_compared(cache: Path, tmp_path: Path):
    first = Triplet(share=1.0, layer="21")
    plan = recipe().optimiser.model_copy(update={"triplet": first, "average": 0.0, "steps": 2})
    before = networks.prepare(recipe().network, cache, torch.zeros(1), recipe().seed).state_dict()
    module, losses = run(recipe(optimiser=plan), cache, tmp_path)
    after = module.state_dict()
    assert torch.equal(after["21.weight"], before["21.weight"])
    assert not torch.equal(after["19.weight"], before["19.weight"])
    assert losses[0] > 0


def test_the_loss_falls_on_a_batch_seen_again_and_again(cache: Path):
    plan = recipe(
        optimiser=Optimiser(learning_rate=5e-3, weight_decay=0, steps=30, warm_up_steps=1)
    )
    batch = batches.Steps(crops.load_examples(cache), cache, plan)[0]
    torch.manual_seed(0)
    module = networks.Guided(architectures.build(plan.network.architecture), "", torch.zeros(1))
    optimiser = torch.optim.AdamW(module.parameters())
    average = networks.Average(module.network, 0.9)
    losses = [
        fitting.train_step(module, optimiser, average, batch, plan, step) for step in range(30)
    ]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_the_average_with_the_highest_score_is_kept(cache: Path, tmp_path: Path):
    scores = iter([0.6, 0.9, 0.7])
    kept = []

    def validate(module: nn.Module) -> fitting.Figures:
        kept.append({name: value.clone() for name, value in module.state_dict().items()})
        return {"score": next(scores)}

    module, _ = run(recipe(), cache, tmp_path / "out", validate=validate)
    assert all(torch.equal(value, kept[1][name]) for name, value in module.state_dict().items())


def test_the_last_average_is_kept_where_the_recipe_says_so(cache: Path, tmp_path: Path):
    scores = iter([0.6, 0.9, 0.7])
    plan = recipe(validation=Validation(share=0.3, keep="last"))
    run(plan, cache, tmp_path, validate=lambda _: {"score": next(scores)})
    kept = checkpoint.read_tensors(tmp_path / "best.safetensors")
    last = checkpoint.read_tensors(tmp_path / "checkpoint" / "average.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in last.items())


def going_on(start: Path, share: float) -> Recipe:
    plan = recipe(validation=Validation(share=0.3, keep="last"))
    network = plan.network.model_copy(update={"pretrained": str(start) if start.name else ""})
    optimiser = plan.optimiser.model_copy(update={"kept_of_start": share})
    return plan.model_copy(update={"network": network, "optimiser": optimiser})


@pytest.mark.parametrize("stop_at", [None, 4])
def test_a_run_can_keep_what_lies_half_way_back_to_its_start(
    cache: Path, tmp_path: Path, stop_at: int | None
):
    run(recipe(), cache, tmp_path / "first")
    start = tmp_path / "first" / "best.safetensors"
    if stop_at:
        with pytest.raises(KeyboardInterrupt):
            run(going_on(start, 0.5), cache, tmp_path / "on", stop_at=stop_at)
    module, _ = run(going_on(start, 0.5), cache, tmp_path / "on")
    began = checkpoint.read_tensors(start)
    ended = checkpoint.read_tensors(tmp_path / "on" / "checkpoint" / "average.safetensors")
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (began[name] + ended[name]) / 2)


def test_nothing_can_be_kept_of_a_start_that_has_not_the_whole_network(cache: Path, tmp_path: Path):
    plan, start = going_on(tmp_path / "part.safetensors", 0.5), tmp_path / "part.safetensors"
    plan = plan.model_copy(
        update={"network": Network(architecture="mobilenet-v2", pretrained=str(start))}
    )
    whole = architectures.build("mobilenet-v2").state_dict()
    part = {name: value for name, value in whole.items() if not name.startswith("classifier")}
    checkpoint.write_tensors(start, part)
    with pytest.raises(UsageError, match="kept_of_start"):
        run(plan, cache, tmp_path / "on")


def test_nothing_can_be_kept_of_no_start(cache: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="kept_of_start"):
        run(going_on(Path(), 0.5), cache, tmp_path / "on")


def test_a_folder_of_another_recipe_is_refused(cache: Path, tmp_path: Path):
    run(recipe(), cache, tmp_path / "out")
    with pytest.raises(UsageError, match="another recipe"):
        run(recipe(seed=4), cache, tmp_path / "out")


def test_the_rate_warms_up_and_falls_to_a_hundredth():
    plan = recipe().optimiser.model_copy(update={"steps": 100, "warm_up_steps": 10})
    rates = [fitting.learning_rate(plan, step) / plan.learning_rate for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.01)


def test_ranking_asks_each_fake_above_its_own_real():
    plan = recipe().optimiser.model_copy(update={"ranking": 1.0})
    labels = np.array([0, 0, 1, 1], np.float32)
    batch = batches.Batch(
        crops=np.zeros((4, 1, 1, 3), np.uint8),
        labels=labels,
        pairs=2,
        maps=np.zeros((2, 2, 1, 1), np.float32),
    )
    apart = objective.batch_loss(torch.tensor([-1.0, 1.0, 0.0, 2.0]), batch, plan)
    crossed = objective.batch_loss(torch.tensor([-1.0, 1.0, 2.0, 0.0]), batch, plan)
    assert apart < crossed


def test_maps_ask_for_nothing_in_reals_and_for_the_mask_in_fakes():
    maps = np.zeros((1, 2, 3, 3), np.float32)
    maps[0, :, 1, 1] = 1
    batch = batches.Batch(
        crops=np.zeros((2, 1, 1, 3), np.uint8), labels=np.array([0, 1], np.float32), pairs=1,
        maps=maps,
    )  # fmt: skip
    right = torch.full((2, 2, 3, 3), -9.0)
    right[1, :, 1, 1] = 9.0
    swapped = right.flip(0)
    assert objective.map_loss(right, batch) < 1e-3 < objective.map_loss(swapped, batch)


def test_a_guided_run_learns_the_maps_and_keeps_the_network_alone(cache: Path, tmp_path: Path):
    guided = recipe().optimiser.model_copy(update={"guidance": 1.0, "guided_layer": "12"})
    plan = recipe(optimiser=guided)
    module, _ = run(plan, cache, tmp_path / "out")
    assert list(module.state_dict()) == list(
        architectures.build(plan.network.architecture).state_dict()
    )
    with pytest.raises(KeyboardInterrupt):
        run(plan, cache, tmp_path / "killed", stop_at=3)
    resumed, _ = run(plan, cache, tmp_path / "killed")
    assert all(
        torch.equal(value, resumed.state_dict()[name])
        for name, value in module.state_dict().items()
    )


# --- networks ----------------------------------------------------------------------------------


def test_reestimated_batchnorm_keeps_the_function_and_starts_training_from_it():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)
    ).eval()
    module[1].bias.data.uniform_(-1, 1)
    crops_ = torch.randn(16, 3, 12, 12) * 3 + 1
    with torch.no_grad():
        before = module(crops_)
        networks.reestimate_batchnorm(module, crops_)
        assert torch.allclose(module(crops_), before, atol=1e-4)
        assert torch.allclose(module.train()(crops_), before, atol=0.05)


def test_a_strided_depthwise_convolution_in_full_precision_keeps_names_and_function():
    module = architectures.build("mobilenet-v2").eval()
    names, crops_ = list(module.state_dict()), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = module(crops_)
        networks.keep_strided_depthwise_in_full_precision(module)
        assert torch.equal(module(crops_), before)
    assert list(module.state_dict()) == names


def test_missing_pretrained_weights_are_told_with_a_way_out(tmp_path: Path):
    network = Network(architecture="mobilenet-v2", pretrained="weights/none.safetensors")
    with pytest.raises(ModelMissing, match="random weights"):
        networks.prepare(network, tmp_path, torch.zeros(2, 3, 64, 64), seed=0)


def test_an_average_follows_the_weights():
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = networks.Average(module, 0.5)
    module.weight.data.fill_(1.0)
    for step in range(200, 203):
        average.update(module, step)
    assert average.state["weight"].item() == pytest.approx(1 - 0.5**3)


VIEWS = (View(margin=0.04), View(margin=0.04, mirrored=True))


def test_views_are_no_part_of_what_a_run_trains() -> None:
    plain, viewed = recipe(), with_views(recipe())
    before_there_were_views = hashlib.sha256(plain.model_dump_json().encode()).hexdigest()
    assert viewed.sha256 == plain.sha256 == before_there_were_views
    assert with_views(published.load("che-cnn")).sha256 == published.load("che-cnn").sha256


def test_a_finished_run_goes_on_to_its_release_with_other_views(cache: Path, tmp_path: Path):
    whole, _ = run(recipe(), cache, tmp_path)
    again, losses = run(with_views(recipe()), cache, tmp_path)
    assert losses == []
    pairs = zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_validation_looks_at_each_face_once_whatever_the_views(cache: Path) -> None:
    examples = crops.load_examples(cache)
    module = architectures.build("spagnola-tuned").eval()
    plain, viewed = (
        validation.Validation(examples, cache, plan, bfloat16=False).logits(module)
        for plan in (recipe(), with_views(recipe()))
    )
    assert plain.shape == (len(examples),)
    np.testing.assert_array_equal(plain, viewed)


def test_what_decides_at_the_gate_is_scored_from_all_views(cache: Path) -> None:
    spec = with_views(recipe()).input
    examples = crops.load_examples(cache)
    seen = validation.serving_views(examples, cache, spec)
    one = examples[0]
    wanted = views.cut(crops.load_crop(cache, one), one.box, spec)
    assert seen.shape == (len(examples), len(VIEWS), 64, 64, 3)
    np.testing.assert_array_equal(seen[0], wanted)
    assert validation.serving_views([], cache, spec).shape == (0, len(VIEWS), 64, 64, 3)


def with_views(plan: Plan) -> Plan:
    return plan.model_copy(update={"input": plan.input.model_copy(update={"views": VIEWS})})
