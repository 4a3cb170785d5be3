"""What each ingredient of the shipped recipe is worth: one protocol, one budget, one table.

    python -m benchmarks.variants --data ../shared/data --write     # all; docs/results.md, plots
    python -m benchmarks.variants --data ../shared/data --only SAM --only "96 px"
    python -m benchmarks.variants --data ../shared/data --done --write    # trains nothing

`variants.toml` names what is changed. Every variant trains from the same start with the same number
of passes over crops (half the steps, where each makes two) and is judged on sources that none of
them saw: those that the recipe holds out, and `dev`. A difference is of the same media under the
same bootstrap draws, groups drawn together.
Folds hold out one training source more each and are judged on it: leave-one-source-out. Further
lines train the recipe on less of the data. What is done already is kept below --out; one line takes
about five minutes of two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_dir
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from benchmarks import variants_amount, variants_plot, variants_study, variants_table
from benchmarks.variants_amount import Point
from benchmarks.variants_study import Fold, Less, Study, fold_plan, folder_of, plan_of
from benchmarks.variants_table import BASE, Judged
from cli.outputs import replacing
from core.vocabulary import MediaKind
from training import machine, split, train, validation
from training.crops import Example, by_media
from training.epochs import thin
from training.recipe import Recipe
from training.split import Split


@dataclass(frozen=True, kw_only=True)
class Material:
    """Faces of the training set and of `dev`, with the folders that hold their crops."""

    data: Path
    cache: Path
    train: Sequence[Example]
    dev: Sequence[Example]


def main() -> None:
    """The command line."""
    options = _arguments()
    machine.set_up(options.threads)
    study = variants_study.read()
    base = variants_study.base_of(study, options.recipe, options.steps)
    wanted = set(options.only) or set(study.names)
    unknown = wanted - set(study.names)
    if unknown:
        raise SystemExit(f"{variants_study.NAMED} has no {', '.join(sorted(unknown))}.")
    runs = Runs(study=study, base=base, out=options.out,
                material=material_of(options.data, options.cache))  # fmt: skip
    if options.done:
        wanted = {name for name in wanted if runs.has(name)}
    judged = {name: runs.variant(name) for name in study.variants if name in wanted}
    folds = {fold.name: runs.fold(fold) for fold in study.fold if fold.name in wanted}
    points = [runs.less(less) for less in study.less if less.name in wanted]
    if BASE in judged:
        points.append(runs.all(judged[BASE]))
    lines = [
        *variants_table.markdown(study, judged, folds, Recipe.model_validate(base)),
        *variants_amount.markdown(points),
    ]
    print("\n".join(lines))
    if options.write:
        pictures = [variants_plot.shown()]
        variants_plot.save(study, judged, variants_plot.PICTURE)
        if len(points) > 1:
            variants_amount.save(study, points, judged)
            pictures.append(variants_amount.shown())
        variants_table.publish([*lines, "", *pictures])


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Trainings of the study, each in its folder below `out`; what is there is not done again."""

    study: Study
    base: Mapping[str, Any]
    out: Path
    material: Material

    def has(self, name: str) -> bool:
        """Whether the variant or the fold of that name is trained and judged already."""
        for fold in self.study.fold:
            if fold.name == name:
                return _kept(_of_fold(fold), fold_plan(self.base, fold), self.out).exists()
        if name in {less.name for less in self.study.less}:
            return _kept(name, Recipe.model_validate(self.base), self.out).exists()
        if self.study.variants[name].of:
            return all(self.has(each) for each in self.study.variants[name].of)
        return _kept(name, plan_of(self.study, self.base, name), self.out).exists()

    def variant(self, name: str) -> Judged:
        """Its logits of all media; those whose mean it is, or who teach it, come first."""
        variant = self.study.variants[name]
        if variant.of:
            return mean_of([self.variant(each) for each in variant.of])
        for each in variant.taught_by:
            self.variant(each)
        plan = plan_of(self.study, self.base, name)
        return _judged(name, plan, self.material, self.out)

    def fold(self, fold: Fold) -> Judged:
        """The base's logits of the fold's media and of the reals that are always held out."""
        plan = fold_plan(self.base, fold)
        judged = _judged(_of_fold(fold), plan, self.material, self.out)
        left = {e.media.path for e in self.material.train if e.media.source in fold.sources}
        # Its fakes stand against its own reals and those of the sources that are always held out.
        return {
            where: {
                path: told for path, told in media.items() if path in left or not told[0]
            }
            for where, media in judged.items()
            if where.startswith("held-out")
        }  # fmt: skip

    def less(self, less: Less) -> Point:
        """The recipe on a part of what it learns from."""
        plan = Recipe.model_validate(self.base)
        trained = variants_amount.part(self._learned(plan), less)
        judged = _judged(less.name, plan, self.material, self.out, trained)
        return variants_amount.point(less, trained, judged)

    def all(self, judged: Judged) -> Point:
        """The recipe on all that it learns from, for comparison with less."""
        plan = Recipe.model_validate(self.base)
        return variants_amount.point(None, self._learned(plan), judged)

    def _learned(self, plan: Recipe) -> tuple[Example, ...]:
        return split.split(self.material.train, plan.validation, plan.seed).train


def mean_of(members: Sequence[Judged]) -> Judged:
    """An ensemble: the mean of its members' logits, each divided by its own spread."""
    first = members[0]
    return {
        name: {
            path: (*told[:2], float(np.mean([_spread(m[name])[path] for m in members])))
            for path, told in first[name].items()
        }
        for name in first
    }


def _spread(media: Mapping[str, tuple[int, str, float]]) -> dict[str, float]:
    scale = float(np.std([logit for _, _, logit in media.values()])) or 1.0
    return {path: logit / scale for path, (_, _, logit) in media.items()}


def _judged(
    name: str,
    plan: Recipe,
    material: Material,
    out: Path,
    trained: tuple[Example, ...] | None = None,
) -> Judged:
    """The logits of all media; from an earlier run where name and plan are the same.

    `trained` is what to learn from instead of all that the plan leaves for it.
    """
    kept = _kept(name, plan, out)
    if not kept.exists():
        parts = split.split(material.train, plan.validation, plan.seed)
        # What is judged does not depend on how much is learned from.
        held = _held_sources(parts)
        if trained is not None:
            parts = replace(parts, train=trained)
        shown = {
            "held-out": (held, material.cache / "train"),
            "dev": (tuple(thin(material.dev, plan.validation.frames)), material.cache / "dev"),
        }
        module = _trained(name, plan, parts, material, kept.parent)
        _write(kept, {
            f"{where} {medium}s": _logits(module, faces, cache, plan, medium)
            for where, (faces, cache) in shown.items()
            for medium in MediaKind
        })  # fmt: skip
    told = json.loads(kept.read_text(encoding="utf-8"))
    return {
        where: {path: (each[0], each[1], each[2]) for path, each in media.items()}
        for where, media in told.items()
    }


def _kept(name: str, plan: Recipe, out: Path) -> Path:
    """Where a run's logits lie once it is judged."""
    return out / folder_of(name, plan) / "judged.json"


def _of_fold(fold: Fold) -> str:
    return f"without {fold.name}"


def _held_sources(parts: Split) -> tuple[Example, ...]:
    """What is held out of sources that are not trained on at all."""
    trained = {example.media.source for example in parts.train}
    return tuple(e for e in parts.validation if e.media.source not in trained)


def _trained(name: str, plan: Recipe, parts: Split, material: Material, folder: Path) -> nn.Module:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns) as bar:
        task = bar.add_task(name, total=plan.optimiser.steps)
        return train.fit(
            plan,
            parts,
            material.data,
            folder,
            material.cache / "train",
            on_step=lambda report: bar.update(task, completed=report.step),
        ).module


def _logits(
    module: nn.Module,
    faces: Sequence[Example],
    cache: Path,
    plan: Recipe,
    medium: MediaKind,
) -> dict[str, tuple[int, str, float]]:
    """By path of the medium: 1 for a fake, its group, the mean logit of its faces."""
    chosen = [face for face in faces if face.media.medium is medium]
    crops = validation.plain_crops(chosen, cache, plan.input)
    logits = iter(validation.forward(module, crops, plan.input).tolist())
    return {
        path: (int(of[0].fake), of[0].media.group, float(np.mean([next(logits) for _ in of])))
        for path, of in by_media(chosen).items()
    }


def material_of(data: Path, cache: Path) -> Material:
    """Faces of both sets, found where the cache has them not."""
    sets = {name: train.import_set(data / name, cache / name) for name in ("train", "dev")}
    return Material(data=data, cache=cache, train=sets["train"], dev=sets["dev"])


def _write(path: Path, content: object) -> None:
    with replacing(str(path)) as stream:
        json.dump(content, stream)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="with train/, dev/ and weights/")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--only", action="append", default=[], help="of these names; repeatable")
    parser.add_argument("--steps", type=int, help="of each training, instead of the file's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/variants"))
    parser.add_argument("--cache", type=Path, default=Path(user_cache_dir("deepsweep")) / "crops")
    parser.add_argument("--done", action="store_true", help="train nothing: what is judged already")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    options = parser.parse_args()
    if options.write and options.only:
        parser.error("--write tells of the whole study; leave --only out, or add --done instead")
    return options


if __name__ == "__main__":
    main()
