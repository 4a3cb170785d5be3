"""The study as a picture: how far each variant lies from the recipe, with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from benchmarks.variants_study import Study
from benchmarks.variants_table import (
    BASE,
    RESULTS,
    Judged,
    auc,
    gain,
    interval,
    noise,
    shown_sets,
    telling,
)

PICTURE = RESULTS.parent / "images" / "variants.svg"
#: Of the bar of a gain, of a loss, and of what chance explains.
_COLOURS = {1: "#2f7d4f", -1: "#b3423a", 0: "#b5bac2"}
#: Inches of a line, and of what stands above and below all lines.
_LINE, _AROUND = 0.24, 1.3


def shown(path: Path = PICTURE) -> str:
    """The line of docs/results.md that shows it."""
    told = "Difference in AUC to the recipe for each variant and set, with 95% intervals"
    return f"![{told}]({path.relative_to(RESULTS.parent)})"


def save(study: Study, judged: Mapping[str, Judged], path: Path) -> None:
    """Draw it, as the suffix of the path says. Raises KeyError without the recipe's own figures."""
    rows, sets = lines(study, judged), shown_sets(judged)
    drawing = Drawing(figsize=(11, _AROUND + _LINE * len(rows)), layout="constrained")
    columns = drawing.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    for axes, where in zip(columns, sets, strict=True):
        _column(axes, rows, judged, where, noise(study, judged, where))
    columns[0].set_yticks(range(len(rows)), [name or part for part, name in rows])
    for label, (_, name) in zip(columns[0].get_yticklabels(), rows, strict=True):
        label.set_fontweight("normal" if name else "bold")
    columns[0].set_ylim(len(rows) - 0.4, -0.6)
    drawing.supxlabel(
        "difference in AUC to the recipe with 95% intervals; shaded: what another seed made",
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without date and chance, so that the same figures give the same file; text as text.
    with rc_context({"svg.hashsalt": "variants", "svg.fonttype": "none"}):
        drawing.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def lines(study: Study, judged: Mapping[str, Judged]) -> list[tuple[str, str]]:
    """(part, variant) from the top down, in the study's order; a part's own line has no variant."""
    found: list[tuple[str, str]] = []
    for part in study.part:
        names = [v.name for v in part.variant if v.name in judged and v.name != BASE]
        found += [(part.of, name) for name in (["", *names] if names else [])]
    return found


def _column(
    axes: Axes,
    rows: list[tuple[str, str]],
    judged: Mapping[str, Judged],
    where: str,
    chance: float,
) -> None:
    base = judged[BASE][where]
    own = auc(base)
    axes.axvspan(-chance, chance, color="black", alpha=0.06, linewidth=0)
    axes.set_title(f"{where}\nrecipe {interval(own)}" if own else where, fontsize=9)
    for place, (_, name) in enumerate(rows):
        apart = gain(judged[name][where], base) if name else None
        if apart is not None:
            ends = [[apart.value - apart.low], [apart.high - apart.value]]
            axes.barh(place, apart.value, height=0.7, color=_COLOURS[telling(apart, chance)])
            axes.errorbar(apart.value, place, xerr=ends, color="black", linewidth=1, capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.locator_params(axis="x", nbins=5)
    axes.tick_params(labelsize=8)
