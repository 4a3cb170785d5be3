"""Pictures of searches and studies, for the folder that they leave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.search import Trial
from training.study import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120
#: Fields of a trial that are drawn across, and whether on a logarithmic axis.
_SEARCHED = (("learning_rate", True), ("weight_decay", False), ("dropout", False), ("batch", False))


def search(trials: Sequence[Trial], path: Path, title: str) -> None:
    """Each trial's figure over each value that was drawn; the best one is marked.

    `trials` come best first, as `training.search.run` gives them.
    """
    figure = _figure(3.0 * len(_SEARCHED), 3.0)
    panels = figure.subplots(1, len(_SEARCHED), sharey=True)
    for axes, (name, logarithmic) in zip(panels, _SEARCHED, strict=True):
        values = [getattr(trial, name) for trial in trials]
        figures = [trial.figure for trial in trials]
        axes.plot(values, figures, "o", alpha=0.7)
        axes.plot(values[:1], figures[:1], "*", markersize=14, label=f"trial {trials[0].number}")
        for trial, value in zip(trials, values, strict=True):
            axes.annotate(str(trial.number), (value, trial.figure), fontsize="small",
                          textcoords="offset points", xytext=(5, 5))  # fmt: skip
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel(name.replace("_", " "))
        axes.margins(0.15)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel(f"validation {trials[0].monitor}")
    panels[-1].legend(fontsize="small")
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path)


def study(outcomes: Sequence[Outcome], path: Path, title: str) -> None:
    """Each change's difference in accuracy with its interval, and what the document says."""
    found = [outcome for outcome in outcomes if outcome.accuracy_change is not None]
    figure = _figure(7.0, 1.5 + 0.5 * len(found))
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=0.8)
    for place, outcome in enumerate(found):
        change = outcome.accuracy_change
        assert change is not None
        axes.plot([change.low, change.high], [place, place], color="tab:blue", linewidth=2)
        axes.plot([change.value], [place], "o", color="tab:blue", label=_once("here", place))
        if outcome.documented is not None:
            axes.plot([outcome.documented], [place], "D", color="tab:orange", markersize=7,
                      markerfacecolor="none", label=_once("the document", place))  # fmt: skip
    axes.set_yticks(range(len(found)), [outcome.change for outcome in found])
    axes.invert_yaxis()
    axes.set_xlabel("change of accuracy against no augmentation")
    axes.grid(alpha=0.25, axis="x")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2, frameon=False)
    axes.set_title(title, loc="left", fontsize="medium")
    figure.savefig(path)


def _once(label: str, place: int) -> str:
    """A legend names each kind of mark once; what begins with _ it leaves out."""
    return label if place == 0 else f"_{label}"


def _figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width_in, height_in), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
