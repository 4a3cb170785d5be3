"""Which labelled persons train, which validate, and which are held out for the gate.

What belongs together stays together: the same bytes, the same person where he is known, and crops
that are nearly the same picture. The split of a group comes from its hash, so that what was held
out once is held out in every later run too. A draw by hash alone would leave every third small
batch without enough fakes, or reals, to decide by: so where a class falls short of its share, the
groups that came nearest to being drawn are moved out of training, as long as nothing can have been
learnt from them. What the base version was retrained on stays where it was; what belongs to
replayed data goes where that is; what belongs to a golden set is not learnt from at all.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.vocabulary import Label, Split
from training import crops, likeness
from training.crops import Example
from training.likeness import Looks
from training.material import Piece

#: Shares of the groups that are held out for the gate, and that validate.
HELD_OUT, VALIDATION = 0.3, 0.15
#: Held out of each class, without which nothing can be said of a gain.
FEWEST_HELD_OUT = 3
#: Each split beside training: its share of every class's groups, and how many it has at least.
_SHARES = {Split.TEST: (HELD_OUT, FEWEST_HELD_OUT), Split.VALIDATION: (VALIDATION, 1)}
#: Where a group belongs to several parts: what was learnt from cannot show what is learnt.
_FIRST = (Split.GOLDEN, Split.TRAIN, Split.VALIDATION, Split.TEST)


@dataclass(frozen=True, kw_only=True)
class Before:
    """What a run has to leave where it was."""

    #: Splits of the judged items that the base version was retrained on, by item.
    items: Mapping[int, Split] = field(default_factory=dict)
    #: Media that an earlier run may have learnt from, whose crops may be gone.
    media: Collection[int] = ()


@dataclass(frozen=True, kw_only=True)
class Division:
    """The pieces of a run, each with its split."""

    pieces: tuple[Piece, ...]
    #: Flagged and replayed crops that belong to a golden set, left out.
    golden: int


def divide(
    flagged: Sequence[Piece],
    replayed: Sequence[Piece],
    golden: Sequence[Piece],
    folder: Path,
    before: Before | None = None,
) -> Division:
    """Give every flagged piece its split; `folder` is where the examples' files lie.

    Replayed pieces keep theirs. Golden ones are not among the answer.
    """
    before = before or Before()
    known = [*replayed, *golden]
    pieces = [*flagged, *known]
    groups = _groups(pieces, _looks(pieces, folder), len(flagged))
    begin, end = len(flagged), len(flagged) + len(replayed)
    splits = [before.items.get(piece.row.crop.item_id or 0) for piece in flagged]
    splits += [piece.row.split for piece in replayed] + [Split.GOLDEN] * len(golden)
    fixed = _fixed(groups, splits)
    places = _places(flagged, groups[:begin], fixed, _names(pieces, groups), before)
    found = [
        _placed(piece, places[group]) for piece, group in zip(flagged, groups[:begin], strict=True)
    ]
    found += [
        _placed(piece, Split.GOLDEN) if fixed[group] is Split.GOLDEN else piece
        for piece, group in zip(replayed, groups[begin:end], strict=True)
    ]
    kept = [piece for piece in found if piece.row.split is not Split.GOLDEN]
    return Division(pieces=tuple(kept), golden=len(found) - len(kept))


def drawn(group: str) -> Split:
    """The split that a group draws, the same for ever."""
    share = _draw(group)
    if share < HELD_OUT:
        return Split.TEST
    return Split.VALIDATION if share < HELD_OUT + VALIDATION else Split.TRAIN


def joined(examples: Sequence[Example], folder: Path) -> tuple[Example, ...]:
    """The examples, those that show the same picture under one group's name.

    A bootstrap draws groups: a picture that was posted ten times is one witness and not ten.
    `folder` is where the examples' files lie.
    """
    looks = [likeness.look(crops.load_crop(folder, one)) for one in examples]
    union = _Union(len(examples))
    first: dict[str, int] = {}
    for number, one in enumerate(examples):
        union.join(first.setdefault(one.media.group, number), number)
    for one_number, other in likeness.near_duplicates(looks, looks):
        union.join(one_number, other)
    names = [examples[union.root(number)].media.group for number in range(len(examples))]
    return tuple(
        replace(one, media=replace(one.media, group=name))
        for one, name in zip(examples, names, strict=True)
    )


# --- helpers ------------------------------------------------------------------------------------


def _draw(group: str) -> float:
    """A number in 0..1 that depends on the group's name alone."""
    digest = hashlib.sha256(f"flagged:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _places(
    flagged: Sequence[Piece],
    groups: Sequence[int],
    fixed: Mapping[int, Split],
    named: Mapping[int, str],
    before: Before,
) -> dict[int, Split]:
    """The split of each flagged group: the one it has, or what it draws, evened out."""
    labels: dict[int, set[Label]] = defaultdict(set)
    settled = set(fixed)
    for piece, group in zip(flagged, groups, strict=True):
        labels[group].add(piece.row.label)
        if piece.row.crop.media_id in before.media:
            settled.add(group)
    places = {group: fixed.get(group) or drawn(named[group]) for group in labels}
    free = sorted(set(labels) - settled, key=lambda group: _draw(named[group]))
    return _evened(places, labels, free)


def _evened(
    places: Mapping[int, Split], labels: Mapping[int, set[Label]], free: Sequence[int]
) -> dict[int, Split]:
    """The places, with free groups moved out of training until each class has its share elsewhere.

    The first ones of `free` are moved first. One of each class stays in training.
    """
    found = dict(places)
    for split, (share, fewest) in _SHARES.items():
        for label in (Label.REAL, Label.FAKE):
            of_class = {group for group in found if label in labels[group]}
            of_class -= {group for group in of_class if found[group] is Split.GOLDEN}
            wanted = max(fewest, int(share * len(of_class)))
            lacking = wanted - sum(found[group] is split for group in of_class)
            left = [group for group in of_class if found[group] is Split.TRAIN]
            spare = [group for group in free if group in left]
            for group in spare[: max(0, min(lacking, len(left) - 1))]:
                found[group] = split
    return found


def _looks(pieces: Sequence[Piece], folder: Path) -> list[Looks]:
    return [likeness.look(crops.load_crop(folder, piece.example)) for piece in pieces]


def _groups(pieces: Sequence[Piece], looks: list[Looks], flagged: int) -> list[int]:
    """A number for each piece, the same for those that belong together.

    Likeness is looked for among flagged pieces and between them and all others: the others were
    divided before.
    """
    union = _Union(len(pieces))
    first: dict[tuple[str, object], int] = {}
    for number, piece in enumerate(pieces):
        for key in _keys(piece):
            union.join(first.setdefault(key, number), number)
    for one, other in likeness.near_duplicates(looks[:flagged], looks):
        union.join(one, other)
    return [union.root(number) for number in range(len(pieces))]


def _keys(piece: Piece) -> Iterator[tuple[str, object]]:
    yield "media", piece.row.crop.media_id
    if piece.row.crop.person:
        yield "person", piece.row.crop.person


def _fixed(groups: Sequence[int], splits: Sequence[Split | None]) -> dict[int, Split]:
    """The split of each group that has one already."""
    found: dict[int, Split] = {}
    for group, split in zip(groups, splits, strict=True):
        if split is not None:
            found[group] = min(split, found.get(group, split), key=_FIRST.index)
    return found


def _names(pieces: Sequence[Piece], groups: Sequence[int]) -> Mapping[int, str]:
    """A group's name: its person's or its oldest medium's, so that it stays when others join."""
    members: dict[int, list[Piece]] = {}
    for piece, group in zip(pieces, groups, strict=True):
        members.setdefault(group, []).append(piece)
    return {group: _name(found) for group, found in members.items()}


def _name(pieces: Iterable[Piece]) -> str:
    rows = [piece.row.crop for piece in pieces]
    persons = sorted(row.person for row in rows if row.person)
    return persons[0] if persons else f"media-{min(row.media_id for row in rows)}"


def _placed(piece: Piece, split: Split) -> Piece:
    return replace(piece, row=replace(piece.row, split=split))


class _Union:
    """Union-find."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def join(self, one: int, other: int) -> None:
        self._parent[self.root(other)] = self.root(one)
