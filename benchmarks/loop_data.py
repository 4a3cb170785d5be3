"""What `benchmarks.loop` learns from and scans: the labelled stills, divided by group."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training import crops
from training.crops import Medium

#: Of everything but the unseen source, by group: the first model's, golden, scanned first; what
#: is left is scanned last. The golden part is large, because a margin has to be shown on it.
KNOWN, GOLDEN, WILD = 0.45, 0.28, 0.09
#: Of the unseen source: scanned first.
UNSEEN_WILD = 0.6


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Media of the labelled folder, by what they are for; no group is in two of them."""

    #: The first model's, and what is replayed later.
    known: tuple[Medium, ...]
    #: On which nothing may get worse.
    golden: tuple[Medium, ...]
    #: Scanned at first: the unseen source, and known ones beside it.
    wild: tuple[Medium, ...]
    #: Scanned at the end.
    fresh: tuple[Medium, ...]


def divide(data: Path, generator: str, *, most: int, scanned: int, seed: int) -> Parts:
    """Stills of `train`; at most so many of each source, label and generator in each part.

    `scanned` is the number for what is scanned; the unseen source comes whole.

    Reals of the unseen source's own collections stand beside it and nowhere else, so that the
    collection alone does not give a fake away.
    """
    media = [m for m in crops.read_labels(data / "train") if m.path.startswith("images/")]
    unseen = {m.group for m in media if m.generator == generator}
    sources = {m.source for m in media if m.generator == generator}
    parts: dict[str, list[Medium]] = defaultdict(list)
    for medium in media:
        place = share(medium.group, seed)
        if medium.group in unseen or medium.source in sources:
            parts["wild" if place < UNSEEN_WILD else "fresh"].append(medium)
        else:
            parts[_part(place)].append(medium)
    numbers = {"known": most, "golden": most, "wild": scanned, "fresh": scanned}
    return Parts(
        **{name: _thin(parts[name], generator, number, seed) for name, number in numbers.items()}
    )


def share(name: str, seed: int) -> float:
    """A number in 0..1 that depends on the name and the seed alone."""
    digest = hashlib.sha256(f"loop:{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def lay_out(media: Iterable[Medium], data: Path, folder: Path) -> None:
    """The media as links below a folder with a labels.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(Medium.__dataclass_fields__)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for medium in media:
            writer.writerow(vars(medium))
            link = folder / medium.path
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to((data / "train" / medium.path).resolve())


def by_uri(media: Sequence[Medium], folder: Path) -> Mapping[str, Medium]:
    """The media of `lay_out` by the URI that a scan gives them."""
    return {f"file://{(folder / medium.path).absolute()}": medium for medium in media}


def _part(place: float) -> str:
    if place < KNOWN:
        return "known"
    if place < KNOWN + GOLDEN:
        return "golden"
    return "wild" if place < KNOWN + GOLDEN + WILD else "fresh"


def _thin(media: Sequence[Medium], generator: str, most: int, seed: int) -> tuple[Medium, ...]:
    taken: Counter[tuple[str, str, str]] = Counter()
    kept = []
    for medium in sorted(media, key=lambda m: share(m.path, seed)):
        cell = (medium.source, medium.label, medium.generator)
        taken[cell] += 1
        if medium.generator == generator or taken[cell] <= most:
            kept.append(medium)
    return tuple(kept)
