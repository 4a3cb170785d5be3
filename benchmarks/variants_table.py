"""What the variants of a recipe measured, as tables of docs/results.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import marked
from benchmarks.variants_study import Study
from detector.spec import Figure
from training import metrics
from training.recipe import Recipe

RESULTS, MARK = Path(__file__).parent.parent / "docs" / "results.md", "variants"
#: What the others are compared with.
BASE = "recipe"
#: Sets in the order of the columns.
SETS = ("held-out images", "dev images", "held-out videos", "dev videos")

HEAD = (
    "## What each ingredient is worth",
    "",
    "    python -m benchmarks.variants --data ../shared/data --write    # five minutes a line here",
    "",
)

#: By set, then by path of the medium: 1 for a fake, its group, its logit.
Judged = Mapping[str, Mapping[str, tuple[int, str, float]]]


def auc(media: Mapping[str, tuple[int, str, float]]) -> Figure | None:
    """AUC with its 95% interval; None without both classes."""
    return _figure(list(media.values()), None)


def gain(
    media: Mapping[str, tuple[int, str, float]], base: Mapping[str, tuple[int, str, float]]
) -> Figure | None:
    """AUC of `media` minus that of `base`: the same media under the same draws."""
    return _figure([media[path] for path in base], [told[2] for told in base.values()])


def shown_sets(judged: Mapping[str, Judged]) -> tuple[str, ...]:
    """The sets, in order, that have both classes."""
    return tuple(where for where in SETS if auc(judged.get(BASE, {}).get(where, {})))


def beside(study: Study, judged: Mapping[str, Judged]) -> tuple[str, ...]:
    """The recipe drawn anew: the variants of its own part that are judged."""
    parts = [part for part in study.part if BASE in {v.name for v in part.variant}]
    names = [v.name for part in parts for v in part.variant]
    return tuple(name for name in names if name != BASE and name in judged)


def noise(study: Study, judged: Mapping[str, Judged], where: str) -> float:
    """The largest difference that drawing the recipe anew has made: of the variants beside it."""
    found = [gain(judged[name][where], judged[BASE][where]) for name in beside(study, judged)]
    return max((abs(apart.value) for apart in found if apart), default=0.0)


def telling(apart: Figure, noise: float) -> int:
    """1 for a gain, -1 for a loss, 0 for what chance explains.

    An interval speaks of the media alone; another seed moves the figure as well. So zero has to lie
    outside of the interval, and the difference beyond what other seeds made.
    """
    if abs(apart.value) <= noise:
        return 0
    return int(apart.low > 0) - int(apart.high < 0)


def _figure(told: list[tuple[int, str, float]], against: list[float] | None) -> Figure | None:
    labels = np.array([label for label, _, _ in told], np.int64)
    if len(set(labels.tolist())) < len(("real", "fake")):
        return None
    clusters = np.unique([group for _, group, _ in told], return_inverse=True)[1].astype(np.int64)
    weights, function = metrics.draw(clusters), metrics.functions(labels, 0.5)["auc"]
    values = function(labels, _ranks([logit for _, _, logit in told]), weights)
    if against is not None:
        values = values - function(labels, _ranks(against), weights)
    return metrics.interval(values)


def _ranks(logits: list[float]) -> np.ndarray:
    """AUC asks for the order alone, and is defined on 0..1."""
    return np.asarray(stats.rankdata(logits) / len(logits), np.float64)


def markdown(
    study: Study, judged: Mapping[str, Judged], folds: Mapping[str, Judged], plan: Recipe
) -> list[str]:
    """Both tables and how to read them; variants in the study's order, part by part."""
    return [*HEAD, *_variants(study, judged, plan), *_folds(folds)]


def _variants(study: Study, judged: Mapping[str, Judged], plan: Recipe) -> Iterator[str]:
    base, sets = judged.get(BASE), shown_sets(judged) or SETS
    chance = {where: noise(study, judged, where) for where in sets} if base else {}
    yield (
        f"{plan.optimiser.steps} steps of {2 * (plan.batch.pairs + plan.batch.labelled)} crops of "
        f"{plan.input.size_px} px each, from the same start; one crop of each face judged. AUC "
        f"with 95% intervals; below the first line the difference to it, **bold** where its "
        f"interval leaves out zero and it is larger than what another seed made. {_counts(base)}"
    )
    yield from ("", f"| variant | | {' | '.join(sets)} |", f"|---|---|{'---|' * len(sets)}")
    for part in study.part:
        rows = [variant for variant in part.variant if variant.name in judged]
        if rows:
            yield f"| **{part.of}** | |{' |' * len(sets)}"
        for variant in rows:
            told, against = judged[variant.name], base if variant.name != BASE else None
            cells = [_cell(told, against, where, chance.get(where, 0.0)) for where in sets]
            yield f"| {variant.name} | {variant.what} | {' | '.join(cells)} |"


def _counts(base: Judged | None) -> str:
    if base is None:
        return ""
    parts = []
    for where in SETS:
        labels = [told[0] for told in base.get(where, {}).values()]
        parts.append(f"{where}: {len(labels) - sum(labels)} real, {sum(labels)} fake")
    return "; ".join(parts).capitalize() + "."


def _cell(told: Judged, base: Judged | None, where: str, chance: float) -> str:
    figure = auc(told.get(where, {}))
    if figure is None:
        return "-"
    apart = gain(told[where], base[where]) if base else None
    if apart is None:
        return interval(figure)
    text = f"{apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
    return f"{figure.value:.3f}, {f'**{text}**' if telling(apart, chance) else text}"


def interval(figure: Figure) -> str:
    """`0.811 [0.77, 0.85]`."""
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]"


def _folds(folds: Mapping[str, Judged]) -> Iterator[str]:
    if not folds:
        return
    yield from (
        "",
        "Leave-one-source-out, the same steps: what is judged was not trained on.",
    )
    yield "Fakes stand against their source's reals and those of the sources always held out."
    yield from ("", "| left out | medium | fakes | reals | AUC |", "|---|---|---|---|---|")
    for name, told in folds.items():
        for where, media in told.items():
            figure = auc(media)
            if figure is not None:
                fakes = sum(label for label, _, _ in media.values())
                counts = f"{where.rpartition(' ')[2]} | {fakes} | {len(media) - fakes}"
                yield f"| {name} | {counts} | {interval(figure)} |"


def publish(lines: list[str]) -> None:
    """Put them into docs/results.md."""
    marked.replace(RESULTS, MARK, lines)
