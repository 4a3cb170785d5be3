"""Who trains and who validates: by source and by group, never by frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.crops import Example
from training.recipe import Validation


@dataclass(frozen=True, kw_only=True)
class Split:
    """Two lists of examples that share no group."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]


def split(examples: Sequence[Example], plan: Validation, seed: int) -> Split:
    """Hold out the plan's sources and groups, and a share of the groups of everything else.

    A group is held out whole wherever its media come from, so the held-out share of a source can
    exceed the plan's when its groups reach into other sources. `seed` counts where the plan names
    none of its own.
    """
    drawn_with = seed if plan.seed is None else plan.seed
    held = {
        example.media.group
        for example in examples
        if example.media.source in plan.sources
        or example.media.group in plan.groups
        or _draw(example.media.group, drawn_with) < plan.share
    }
    return Split(
        train=tuple(e for e in examples if e.media.group not in held),
        validation=tuple(_thin((e for e in examples if e.media.group in held), plan.frames)),
    )


def _draw(group: str, seed: int) -> float:
    """A number in 0..1 that depends on the group's name and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _thin(examples: Iterable[Example], frames: int) -> Iterable[Example]:
    """At most `frames` evenly spaced frames of each medium, with all their faces."""
    by_media: dict[str, list[Example]] = {}
    for example in examples:
        by_media.setdefault(example.media.path, []).append(example)
    for of_medium in by_media.values():
        indices = sorted({example.frame for example in of_medium})
        step = max(1.0, len(indices) / frames)
        kept = {indices[int(i * step)] for i in range(min(frames, len(indices)))}
        yield from (example for example in of_medium if example.frame in kept)
