"""Which labelled persons train, which validate, and which are held out for the gate.

What belongs together stays together: the same bytes, the same person where he is known, and crops
that are nearly the same picture. The split of a group comes from its hash alone, so that what was
held out once is held out in every later run too. What belongs to replayed data goes where that is;
what belongs to a golden set is not learnt from at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.vocabulary import Split
from training import crops, likeness
from training.likeness import Looks
from training.material import Piece

#: Shares of the groups that are held out for the gate, and that validate.
HELD_OUT, VALIDATION = 0.3, 0.15
#: Where a group belongs to several parts of the replayed data, the one that decides least.
_FIRST = (Split.GOLDEN, Split.TEST, Split.VALIDATION, Split.TRAIN)


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
) -> Division:
    """Give every flagged piece its split; `folder` is where the examples' files lie.

    Replayed pieces keep theirs. Golden ones are not among the answer.
    """
    known = [*replayed, *golden]
    splits = [piece.row.split for piece in replayed] + [Split.GOLDEN] * len(golden)
    groups = _groups([*flagged, *known], _looks([*flagged, *known], folder), len(flagged))
    fixed = _fixed(groups[len(flagged) :], splits)
    named = _names([*flagged, *known], groups)
    begin, end = len(flagged), len(flagged) + len(replayed)
    found = [
        _placed(piece, fixed.get(group) or drawn(named[group]))
        for piece, group in zip(flagged, groups[:begin], strict=True)
    ]
    found += [
        _placed(piece, Split.GOLDEN) if fixed[group] is Split.GOLDEN else piece
        for piece, group in zip(replayed, groups[begin:end], strict=True)
    ]
    kept = [piece for piece in found if piece.row.split is not Split.GOLDEN]
    return Division(pieces=tuple(kept), golden=len(found) - len(kept))


def drawn(group: str) -> Split:
    """The split of a group, the same for ever."""
    digest = hashlib.sha256(f"flagged:{group}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < HELD_OUT:
        return Split.TEST
    return Split.VALIDATION if share < HELD_OUT + VALIDATION else Split.TRAIN


# --- helpers ------------------------------------------------------------------------------------


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


def _fixed(groups: Sequence[int], splits: Sequence[Split]) -> dict[int, Split]:
    found: dict[int, Split] = {}
    for group, split in zip(groups, splits, strict=True):
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
