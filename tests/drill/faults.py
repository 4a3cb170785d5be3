"""What goes wrong in the drill, when, and how long it takes until all is well again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from core.vocabulary import ScanState
from tests.drill.stack import Stack
from tests.drill.storage import Mood, SickStorage

#: How long the storage is broken, and hangs.
SICK_S = 6.0
WORKER_KILLED = "worker killed"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The scan at one moment."""

    #: Rows that the listing made.
    listed: int
    #: Items that have their result.
    ended: int
    state: ScanState
    #: Names of the workers that hold items.
    holders: frozenset[str]


#: Whether what had died works again.
IsBack = Callable[[Seen], bool]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    #: As soon as so many items have ended.
    at: int
    #: Does it; gives what tells that the part is back.
    do: Callable[[], IsBack]
    #: For how long; then `undo` is called.
    lasts_s: float = 0.0
    undo: Callable[[], None] = lambda: None
    #: Process that is about to die.
    victim: Callable[[], int | None] = lambda: None


@dataclass(kw_only=True)
class Recovery:
    """How long it took from a fault's end, by the machine's clock, because rows carry it."""

    fault: str
    is_back: IsBack
    #: How many items had ended when the fault was over.
    ended_then: int
    #: Ids of the items that were in hand of what died.
    in_hand: frozenset[int] = frozenset()
    since: float = field(default_factory=time.time)
    #: Until the part worked again, and until the next result came; None before.
    back_s: float | None = None
    next_result_s: float | None = None

    def look(self, seen: Seen) -> None:
        """Note what has come by now."""
        passed_s = time.time() - self.since
        if self.back_s is None and self.is_back(seen):
            self.back_s = passed_s
        if self.next_result_s is None and seen.ended > self.ended_then:
            self.next_result_s = passed_s


def schedule(stack: Stack, storage: SickStorage, items: int, kill_every: int) -> list[Fault]:
    """All faults, in the order in which they come."""
    others = [
        _redis(stack, items, share=0.12),
        _postgres(stack, items, share=0.24),
        _sick(storage, Mood.BROKEN, "S3 answers 500", items, share=0.36),
        _sick(storage, Mood.HANGING, "S3 hangs", items, share=0.48),
        _redis(stack, items, share=0.6),
        _postgres(stack, items, share=0.72),
    ]
    return sorted([*others, *_kills(stack, items, kill_every)], key=lambda fault: fault.at)


def _kills(stack: Stack, items: int, every: int) -> Iterator[Fault]:
    """The workers by turns, as long as there is something left to judge afterwards."""
    for number in range(1, max(2, items // every)):
        yield _kill(stack, number % len(stack.workers), at=number * every)


def _kill(stack: Stack, number: int, *, at: int) -> Fault:
    worker = stack.workers[number]

    def kill() -> IsBack:
        dead = worker.pid
        worker.kill()
        return lambda seen: worker.pid != dead and _holds(worker.pid, seen)

    return Fault(name=WORKER_KILLED, at=at, do=kill, victim=lambda: worker.pid)


def _holds(pid: int, seen: Seen) -> bool:
    return any(f"/{pid}/" in name for name in seen.holders)


def _redis(stack: Stack, items: int, *, share: float) -> Fault:
    def kill() -> IsBack:
        stack.kill_redis()
        return lambda _: stack.redis_answers()

    return Fault(name="Redis killed, its memory gone", at=int(share * items), do=kill)


def _postgres(stack: Stack, items: int, *, share: float) -> Fault:
    def kill() -> IsBack:
        stack.kill_postgres()
        return lambda _: True  # whoever sees the scan was answered

    return Fault(name="PostgreSQL killed", at=int(share * items), do=kill)


def _sick(storage: SickStorage, mood: Mood, name: str, items: int, *, share: float) -> Fault:
    def fall_sick() -> IsBack:
        storage.mood = mood
        return lambda _: True  # it is well when the fault is over

    def heal() -> None:
        storage.mood = Mood.WELL

    return Fault(name=name, at=int(share * items), do=fall_sick, lasts_s=SICK_S, undo=heal)
