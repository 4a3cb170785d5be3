"""Batches that gather over items, and lanes that they go through beside the rest of the work.

A batch goes ahead when it is full, or when somebody in it has waited for as long as he may: what is
in bulk has time, and who waits for one answer has not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Batches that are given to a lane at a time: one that it works on, and the next.
DEPTH = 2


class Gathering(Generic[T]):
    """What waits until a batch is full."""

    def __init__(self, size: int) -> None:
        """`size` of them make a batch."""
        self._size = size
        self._waiting: deque[tuple[T, float]] = deque()
        self._until = math.inf

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return (what for what, _ in self._waiting)

    def add(self, what: T, until: float) -> None:
        """One more, which may wait until then, on the caller's clock."""
        self._waiting.append((what, until))
        self._until = min(self._until, until)

    def hurry(self, until: float) -> None:
        """Let nothing that waits now wait for longer."""
        self._waiting = deque((what, min(until, given)) for what, given in self._waiting)
        self._until = min(self._until, until) if self._waiting else math.inf

    def is_due(self, now: float) -> bool:
        """Whether something has waited for as long as it may."""
        return now >= self._until

    def take(self, *, everything: bool) -> Iterator[list[T]]:
        """Full batches in the order they came, and the rest where everything is to go."""
        while len(self._waiting) >= self._size or (everything and self._waiting):
            count = min(self._size, len(self._waiting))
            batch = [self._waiting.popleft()[0] for _ in range(count)]
            self._until = min((until for _, until in self._waiting), default=math.inf)
            yield batch

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Forget all others."""
        self._waiting = deque(each for each in self._waiting if wanted(each[0]))
        self._until = min((until for _, until in self._waiting), default=math.inf)


class Lane(Protocol):
    """Does one thing after the other, in the order given."""

    def submit(self, work: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """What `work` will have given."""


class Here:
    """A lane in the caller's own thread: everything is done before `submit` returns."""

    def submit(self, work: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """As Lane.submit; what `work` raises is raised at once."""
        done: Future[R] = Future()
        done.set_result(work(*arguments))
        return done


class Beside:
    """A lane in a thread of its own. A network that several lanes use is used by one at a time."""

    def __init__(self, name: str) -> None:
        """Starts its thread with the first work."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def submit(self, work: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """As Lane.submit."""
        return self._thread.submit(work, *arguments)

    def wait(self) -> None:
        """Until everything that was given is done, well or not."""
        self._thread.submit(lambda: None).result()


class Underway(Generic[T, R]):
    """Batches in a lane, and what comes of them in the order they were given."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._given: deque[tuple[list[T], Future[R]]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether the lane has as much as it is to have."""
        return len(self._given) >= DEPTH

    def give(self, batch: list[T], work: Callable[[list[T]], R]) -> None:
        """Have one more batch worked on."""
        self._given.append((batch, self._lane.submit(work, batch)))

    def collect(self, *, wait: bool) -> Iterator[tuple[list[T], R]]:
        """Batches that are done, all where it is worth waiting. Raises what the work has raised."""
        while self._given and (wait or self._given[0][1].done()):
            batch, done = self._given.popleft()
            yield batch, done.result()

    def collect_one(self) -> Iterator[tuple[list[T], R]]:
        """The oldest batch, as soon as it is done."""
        if self._given:
            batch, done = self._given.popleft()
            yield batch, done.result()
