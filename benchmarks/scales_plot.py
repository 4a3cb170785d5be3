"""The same as a picture: what is needed for how many items, and where the walls stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.scales import DAY_S, GET_PRICE, LIST_PAGE, LIST_PRICE, Mix, limits
from benchmarks.unit_costs import Costs

_ITEMS = np.logspace(5, 10, 60)


def save(costs: Costs, path: Path) -> None:
    """Write it, as the suffix of the path says."""
    mix = Mix(costs=costs)
    price = mix.of("requests") * GET_PRICE + LIST_PRICE / LIST_PAGE
    lines = {
        "processor of workers, core-days": mix.of("worker_ms") / 1e3 / DAY_S,
        "processor of PostgreSQL, core-days": mix.of("database_ms") / 1e3 / DAY_S,
        "PostgreSQL on disk, GB": sum(mix.table_bytes.values()) / 1e9,
        "fetched from the store, TB": mix.of("read_bytes") / 1e12,
        "S3 requests, $": price,
    }
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, each in lines.items():
        axes.loglog(_ITEMS, _ITEMS * each, label=name)
    for name, items in limits(mix).items():
        axes.axvline(items, color="grey", linestyle=":", linewidth=1)
        axes.text(
            items, 6e4, f"{name} ", rotation=90, fontsize=8, color="grey", va="top", ha="right"
        )
    axes.set(xlabel="items", xlim=(_ITEMS[0], _ITEMS[-1]), ylim=(1e-2, 1e5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    # Without its date, so that the same costs give the same file.
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
