"""Ranges of a file that are going to be read, told to files that can make use of it.

A decoder asks for a few kilobytes at a time; a storage is asked for megabytes, because a request
takes its time. Where it is known beforehand what will be read, neither has to guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Range(NamedTuple):
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int


@runtime_checkable
class Expecting(Protocol):
    """A file that reads better when it knows what comes."""

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """These ranges, increasing and apart, will be read in order; others may be as well."""


def expect(file: object, ranges: Sequence[tuple[int, int]]) -> None:
    """Tell the file, if it listens."""
    if ranges and isinstance(file, Expecting):
        file.expect(ranges)


def joined(ranges: Iterable[Range], gap: int) -> list[Range]:
    """The ranges in rising order; those that overlap or lie less than `gap` apart are one."""
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start - found[-1].stop < gap:
            found[-1] = Range(found[-1].start, max(stop, found[-1].stop))
        else:
            found.append(Range(start, stop))
    return found


def holding(ranges: Sequence[tuple[int, int]], position: int) -> tuple[int, int] | None:
    """The range that a position lies in."""
    low, high = 0, len(ranges)
    while low < high:
        middle = (low + high) // 2
        if ranges[middle][1] <= position:
            low = middle + 1
        else:
            high = middle
    return ranges[low] if low < len(ranges) and ranges[low][0] <= position else None
