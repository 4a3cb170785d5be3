"""How far back to its start a finished run should be taken, and from which crops a face is scored.

    python -m benchmarks.halfway out/longer --data ../shared/data

A row for each share that is kept of the start (`kept_of_start` of the recipe) and each set of
views: AUC of what the run held out, and of `dev`, over media by the mean logit of their faces.
Nothing is trained: it takes a few minutes. Choose by the held-out columns; `dev` is for reporting.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir
from rich.progress import track
from torch import nn

from benchmarks import variants_table
from benchmarks.variants import Material, material_of
from core.vocabulary import MediaKind
from detector import architectures, views
from detector.spec import Input, View
from training import checkpoint, machine, networks, packaged, split, validation
from training.crops import Example, by_media, load_crop
from training.epochs import thin
from training.recipe import Recipe

SHARES = (0.0, 0.5, 1.0)
SETS = ("held-out images", "held-out videos", "dev images", "dev videos")

#: Views by the name of their set; the first is one crop as training validates with.
VIEWS = {
    "15%": (View(margin=0.15),),
    "5%": (View(margin=0.05),),
    "5% and 15% mirrored": (View(margin=0.05), View(margin=0.15, mirrored=True)),
    "5% and 15%, each plain and mirrored": tuple(
        View(margin=margin, mirrored=mirrored)
        for margin in (0.05, 0.15)
        for mirrored in (False, True)
    ),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run that had a --start")
    parser.add_argument("--data", type=Path, required=True, help="with train/, dev/ and weights/")
    parser.add_argument("--cache", type=Path, default=Path(user_cache_dir("deepsweep")) / "crops")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    machine.set_up(options.threads)
    plan = Recipe.model_validate_json((options.run / "recipe.json").read_text(encoding="utf-8"))
    print("\n".join(table(options.run, plan, material_of(options.data, options.cache))))


def table(run: Path, plan: Recipe, material: Material) -> Iterator[str]:
    """The rows, in Markdown."""
    held = split.split(material.train, plan.validation, plan.seed).validation
    dev = thin(material.dev, plan.validation.frames)
    yield f"| kept of the start | views | {' | '.join(SETS)} |"
    yield f"|---|---|{'---|' * len(SETS)}"
    crops = {
        name: [_crops(held, material.cache / "train", plan.input, chosen),
               _crops(dev, material.cache / "dev", plan.input, chosen)]
        for name, chosen in track(VIEWS.items(), "cutting crops")
    }  # fmt: skip
    for share in SHARES:
        module = _module(run, plan, material.data, share)
        for name, (of_held, of_dev) in crops.items():
            cells = [
                *_aucs(module, plan.input, held, of_held),
                *_aucs(module, plan.input, dev, of_dev),
            ]
            yield f"| {share:.0%} | {name} | {' | '.join(cells)} |"


def _module(run: Path, plan: Recipe, data: Path, share: float) -> nn.Module:
    module = architectures.build(plan.network.architecture, **plan.network.options)
    start = networks.read_fitting(module, packaged.locate(plan.network.pretrained, data))
    ended = checkpoint.read_tensors(run / "checkpoint" / "average.safetensors")
    module.load_state_dict(networks.between(start, ended, share))
    return module.eval()


def _crops(
    examples: Sequence[Example], cache: Path, spec: Input, chosen: tuple[View, ...]
) -> np.ndarray:
    """uint8 (n, views, size, size, 3)."""
    asked = spec.model_copy(update={"views": chosen})
    return np.stack([views.cut(load_crop(cache, e), e.box, asked) for e in examples])


def _aucs(
    module: nn.Module, spec: Input, examples: Sequence[Example], crops: np.ndarray
) -> Iterator[str]:
    flat = crops.reshape(-1, *crops.shape[2:])
    faces = validation.forward(module, flat, spec).reshape(len(examples), -1).mean(axis=1)
    logits = dict(zip(map(id, examples), faces.tolist(), strict=True))
    for medium in MediaKind:
        chosen = by_media([e for e in examples if e.media.medium is medium])
        told = {
            path: (int(of[0].fake), of[0].media.group, float(np.mean([logits[id(e)] for e in of])))
            for path, of in chosen.items()
        }
        figure = variants_table.auc(told)
        yield variants_table.interval(figure) if figure else "-"


if __name__ == "__main__":
    main()
