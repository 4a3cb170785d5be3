"""A finished run's curves as one picture: loss, validation figures, learning rate, over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Name of the picture in a run's folder.
PICTURE = "curves.png"
#: Figures in 0..1 that are drawn, with their names; the first one there is drawn strongest.
_SHARES = {
    "score": "mean AUC over generators",
    "auc": "AUC",
    "accuracy": "accuracy",
    "synthetic": "AUC on fakes made of held-out reals",
}
_WIDTH_IN, _HEIGHT_IN, _DPI = 7.0, 2.4, 120

Entry = Mapping[str, Any]


def write(history: Sequence[Entry], path: Path, title: str) -> None:
    """Draw the entries of a run's `history.json`; nothing where there is none.

    Entries have `step` and `loss`, and may have `learning_rate`, `phase`, and validation figures
    with or without the prefix `validation_`.
    """
    if not history:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [panel for panel in (_loss, _shares, _rate) if panel is not _rate or _has_rate(history)]
    figure = Figure((_WIDTH_IN, _HEIGHT_IN * len(drawn)), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(len(drawn), 1, sharex=True), drawn, strict=True):
        panel(axes, history)
        _mark_phases(axes, history)
        axes.grid(alpha=0.25)
        axes.margins(x=0.02)
    figure.axes[0].set_title(title, loc="left", fontsize="medium")
    figure.axes[-1].set_xlabel("step")
    figure.savefig(path)


def _loss(axes: Axes, history: Sequence[Entry]) -> None:
    axes.plot(*_series(history, "loss"), "o-", markersize=3, label="training")
    if any("validation_loss" in entry for entry in history):
        axes.plot(*_series(history, "validation_loss"), "s--", markersize=3, label="validation")
    axes.set_ylabel("loss")
    axes.legend(fontsize="small", frameon=False)


def _shares(axes: Axes, history: Sequence[Entry]) -> None:
    found = [
        name
        for name in _SHARES
        if any(name in entry or f"validation_{name}" in entry for entry in history)
    ]
    for rank, name in enumerate(found):
        key = name if any(name in entry for entry in history) else f"validation_{name}"
        width = 2.0 if rank == 0 else 1.0
        axes.plot(*_series(history, key), "o-", markersize=3, linewidth=width, label=_SHARES[name])
    axes.set_ylabel("validation")
    if found:
        axes.legend(fontsize="small", frameon=False)


def _rate(axes: Axes, history: Sequence[Entry]) -> None:
    axes.plot(*_series(history, "learning_rate"), drawstyle="steps-pre")
    axes.set_yscale("log")
    axes.set_ylabel("learning rate")


def _has_rate(history: Sequence[Entry]) -> bool:
    return any("learning_rate" in entry for entry in history)


def _mark_phases(axes: Axes, history: Sequence[Entry]) -> None:
    """A line where a phase ends and the next begins."""
    for before, after in pairwise(history):
        if before.get("phase") != after.get("phase"):
            axes.axvline(before["step"], color="black", linewidth=0.8, linestyle=":")


def _series(history: Sequence[Entry], key: str) -> tuple[list[int], list[float]]:
    found = [entry for entry in history if key in entry]
    return [entry["step"] for entry in found], [entry[key] for entry in found]
