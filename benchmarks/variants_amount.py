"""What less data costs: the recipe on parts of what there is, and the curve that this draws.

Fewer sources ask what variety is worth, fewer people and photos of every source what amount is
worth. What is held out stays whole, so that all points are judged on the same media.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.variants_study import Less, Study
from benchmarks.variants_table import (
    BASE,
    RESULTS,
    Judged,
    auc,
    beside,
    interval,
    shown_sets,
)
from training.crops import Example

PICTURE = RESULTS.parent / "images" / "amount.svg"
_COLOURS = {"sources": "#1f4e9c", "groups": "#b3423a"}
_NAMES = {"sources": "fewer sources", "groups": "fewer people and photos of every source"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One training on a part of the data."""

    #: None for all of it.
    less: Less | None
    sources: int
    media: int
    judged: Judged


def part(examples: Sequence[Example], less: Less) -> tuple[Example, ...]:
    """The share of the examples; a larger share holds a smaller one."""
    if less.of == "sources":
        kept = _sources(((e.media.source, e.fake) for e in examples), less.share)
        return tuple(e for e in examples if e.media.source in kept)
    pairs = _groups(((e.media.source, e.media.group) for e in examples), less.share)
    return tuple(e for e in examples if (e.media.source, e.media.group) in pairs)


def point(less: Less | None, trained: Sequence[Example], judged: Judged) -> Point:
    """A point of the curve, with what it was trained on."""
    return Point(
        less=less,
        sources=len({e.media.source for e in trained}),
        media=len({e.media.path for e in trained}),
        judged=judged,
    )


def _sources(media: Iterable[tuple[str, bool]], share: float) -> set[str]:
    """A share of the sources that have fakes and of those that have none, at least one each."""
    fakes: dict[str, bool] = {}
    for source, fake in media:
        fakes[source] = fakes.get(source, False) or fake
    of_kind = ([name for name, has in fakes.items() if has is wanted] for wanted in (True, False))
    return {name for names in of_kind for name in _first(names, share)}


def _groups(media: Iterable[tuple[str, str]], share: float) -> set[tuple[str, str]]:
    """A share of every source's groups, at least one."""
    groups: dict[str, set[str]] = {}
    for source, group in media:
        groups.setdefault(source, set()).add(group)
    return {(source, name) for source, names in groups.items() for name in _first(names, share)}


def _first(names: Iterable[str], share: float) -> list[str]:
    """Which ones depends on the names alone."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return ordered[: max(1, round(share * len(ordered)))] if ordered else []


# --- told -----------------------------------------------------------------------------------------


def markdown(points: Sequence[Point]) -> Iterator[str]:
    """A line for each point, all of the data last."""
    if not any(each.less for each in points):
        return
    sets = shown_sets({BASE: points[-1].judged})
    yield from (
        "",
        "The same steps on less: whole sources left out, or people and photos of every source.",
    )
    yield from ("", f"| trained on | sources | media | {' | '.join(sets)} |")
    yield f"|---|---|---|{'---|' * len(sets)}"
    for each in points:
        figures = (auc(each.judged[where]) for where in sets)
        cells = " | ".join(interval(figure) if figure else "-" for figure in figures)
        name = each.less.name if each.less else "all"
        yield f"| {name} | {each.sources} | {each.media:,} | {cells} |"


def shown(path: Path = PICTURE) -> str:
    """The line of docs/results.md that shows the curve."""
    told = "AUC against the number of media learned from, by fewer sources and by less of each"
    return f"![{told}]({path.relative_to(RESULTS.parent)})"


def save(
    study: Study, points: Sequence[Point], judged: Mapping[str, Judged], path: Path = PICTURE
) -> None:
    """Draw it, as the suffix of the path says; `judged` has the recipe's other seeds."""
    sets = shown_sets({BASE: points[-1].judged})
    drawing = Drawing(figsize=(11, 3.6), layout="constrained")
    columns = drawing.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, where in zip(columns, sets, strict=True):
        seeds = [auc(judged[name][where]) for name in beside(study, judged)]
        _column(axes, points, where, [figure.value for figure in seeds if figure])
    columns[0].set_ylabel("AUC")
    columns[0].legend(fontsize=8, loc="lower right")
    drawing.supxlabel(
        "media learned from; 95% intervals; hollow: the recipe's seeds on all of them", fontsize=9
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without date and chance, so that the same figures give the same file; text as text.
    with rc_context({"svg.hashsalt": "amount", "svg.fonttype": "none"}):
        drawing.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _column(axes: Axes, points: Sequence[Point], where: str, seeds: Sequence[float]) -> None:
    axes.set_title(where, fontsize=9)
    for place, kind in enumerate(_NAMES):
        line = [each for each in points if each.less is None or each.less.of == kind]
        told = [(each.media, auc(each.judged[where])) for each in line]
        known = [(media, figure) for media, figure in told if figure]
        values = [figure.value for _, figure in known]
        below = [figure.value - figure.low for _, figure in known]
        above = [figure.high - figure.value for _, figure in known]
        # Side by side, so that one interval does not hide the other.
        beside_it = [media * (1.0, 1.04)[place] for media, _ in known]
        axes.errorbar(
            beside_it, values, yerr=[below, above], marker="o", markersize=4, capsize=2,
            linewidth=1.2, color=_COLOURS[kind], label=_NAMES[kind],
        )  # fmt: skip
    axes.plot([points[-1].media] * len(seeds), seeds, "o", color="black", fillstyle="none")
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8, which="both")
