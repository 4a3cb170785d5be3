"""What more data would bring: the default recipe on a quarter, half and all of the sources.

    python -m benchmarks.curve --data ../shared/data --steps 300 --out out/curve

Each point trains from the same start with the same number of steps on groups of some sources, and
is judged on `dev`, whose sources none of them saw. Whole sources are left out, not single media:
variety is what is asked about. Three points of 300 steps take about half an hour of two free
cores; what is done already is kept in --out, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_dir
from rich.table import Table

from cli.caches import found_faces
from cli.outputs import replacing
from cli.text import console
from core.vocabulary import MediaKind
from detector.spec import Figure
from training import evaluation, plots, recipe, release, train
from training.evaluation import ALL, cell

SHARES = (0.25, 0.5, 1.0)
LABELS = "labels.csv"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One training."""

    share: float
    sources: int
    media: int
    auc: dict[str, Figure]


def main() -> None:
    """Train what is missing, then draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="with train/, dev/ and weights/")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--steps", type=int, default=300, help="of each training (300)")
    parser.add_argument("--out", type=Path, default=Path("out/curve"))
    asked = parser.parse_args()
    points = [_point(share, asked) for share in SHARES]
    _show(points)
    _draw(points, asked.out / "curve.html")


def _point(share: float, asked: argparse.Namespace) -> Point:
    """The figures of one training on `dev`; made once for each number of steps."""
    run = asked.out / f"{asked.recipe}-{asked.steps}-{share:g}"
    kept = run / "point.json"
    if not kept.exists():
        held_out = recipe.load(asked.recipe).validation.sources
        data = _part(asked.data, run / "data", share, held_out)
        # One for each part: a training takes every face that lies in its cache.
        cache = Path(user_cache_dir("deepsweep")) / "crops-curve" / f"{share:g}"
        train.run(asked.recipe, data, run, cache, steps=asked.steps)
        release.release(run, data, run / "model", name="curve", number=1, sets=())
        _write(kept, _measured(run / "model", asked.data / "dev", data, share))
    told = json.loads(kept.read_text(encoding="utf-8"))
    return Point(**told | {"auc": {name: Figure(**each) for name, each in told["auc"].items()}})


def _measured(model: Path, dev: Path, data: Path, share: float) -> dict[str, object]:
    judged = evaluation.judge_set(evaluation.scorer_of(model), dev, "dev", cache=found_faces())
    rows = [row for row in evaluation.figure_rows(judged) if row.unit == "media"]
    media = _rows(data / "train")
    return {
        "share": share,
        "sources": len({row["source"] for row in media}),
        "media": len(media),
        "auc": {
            f"{row.medium}s": row.figures["auc"].model_dump()
            for row in rows
            if row.source == ALL and "auc" in row.figures
        },
    }


def _part(data: Path, folder: Path, share: float, held_out: Collection[str]) -> Path:
    """A folder like `data` whose training set has only a share of the sources, as links.

    What the recipe holds out stays whole: calibration must be equally good at every point.
    """
    rows = _rows(data / "train")
    trained = [row for row in rows if row["source"] not in held_out]
    kept = chosen(((row["source"], row["label"]) for row in trained), share) | set(held_out)
    part = [row for row in rows if row["source"] in kept]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train").mkdir(exist_ok=True)
    for link, target in (
        (folder / "weights", data / "weights"),
        (folder / "train" / "images", data / "train" / "images"),
        (folder / "train" / "videos", data / "train" / "videos"),
    ):
        if not link.is_symlink():
            link.symlink_to(target.resolve())
    with (folder / "train" / LABELS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(part)
    return folder


def chosen(media: Iterable[tuple[str, str]], share: float) -> set[str]:
    """A share of the sources that have fakes and of those that have none, at least one each.

    Which ones depends on their names alone, and a larger share holds a smaller one.
    """
    labels: dict[str, set[str]] = {}
    for source, label in media:
        labels.setdefault(source, set()).add(label)
    kept: set[str] = set()
    for with_fakes in (True, False):
        sources = [name for name, seen in labels.items() if ("fake" in seen) is with_fakes]
        ordered = sorted(sources, key=lambda name: hashlib.sha256(name.encode()).digest())
        kept |= set(ordered[: max(1, round(share * len(ordered)))])
    return kept


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / LABELS).open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _show(points: list[Point]) -> None:
    media = [f"{kind}s" for kind in MediaKind]
    table = Table(
        "share of sources", "sources", "media", *(f"AUC, {name} of dev" for name in media)
    )
    for point in points:
        cells = (cell(point.auc.get(name)) for name in media)
        table.add_row(f"{point.share:.0%}", str(point.sources), str(point.media), *cells)
    console().print(table)


def _draw(points: list[Point], path: Path) -> None:
    """One forest plot a medium, in a page that opens from disk."""
    drawn = []
    for name in (f"{kind}s" for kind in MediaKind):
        lines = [
            (f"{point.sources} sources, {point.media} media", point.auc[name])
            for point in points
            if name in point.auc
        ]
        if lines:
            drawn.append(plots.forest(lines, f"AUC, {name} of dev", (0.4, 1.0), (0.5,)))
    style = (
        "svg{width:54rem;display:block;margin:2rem}text{font:11px system-ui;text-anchor:middle}"
        ".title{font-weight:600}.name{text-anchor:end}.number{text-anchor:start}"
        ".span,.limit,.diagonal{stroke:#1d4ed8}.diagonal,.limit{stroke:#bbb}.dot{fill:#1d4ed8}"
    )
    with replacing(str(path)) as stream:
        stream.write(
            f"<!doctype html><meta charset=utf-8><title>AUC against variety of data</title>"
            f"<style>{style}</style>{''.join(drawn)}"
        )


def _write(path: Path, content: object) -> None:
    with replacing(str(path)) as stream:
        json.dump(content, stream, indent=1)


if __name__ == "__main__":
    main()
