"""The drill's table."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence

from tests.drill import media
from tests.drill.faults import WORKER_KILLED, Recovery
from tests.drill.ledger import Account

_FAULT_CHARS, _CELL_CHARS = 32, 16


def lines(
    account: Account, recoveries: Sequence[Recovery], *, seconds: float, worker_starts: int
) -> Iterator[str]:
    """The figures, the times by fault, and whatever is wrong."""
    quarantined = sum(media.poison(key) for key in account.failed)
    figures = [
        ("items in", account.items_in),
        ("items with exactly one result", account.once),
        ("lost", len(account.lost)),
        ("doubled", len(account.doubled)),
        ("quarantined: poison", quarantined),
        ("quarantined: innocent", len(account.innocent_failures)),
        ("in hand when a worker died, judged later", max(0, account.suspects - 1)),
        ("workers started", worker_starts),
        ("seconds in all", round(seconds)),
        ("seconds between two kills of a worker", round(_between_kills_s(recoveries))),
    ]
    for name, value in figures:
        yield f"{name:<44}{value:>8}"
    yield ""
    yield from _times(recoveries, account)
    yield from (f"WRONG: {sentence}" for sentence in (*account.lost, *account.doubled))
    yield from (f"failed: {key} {code}" for key, code in sorted(account.failed.items()))


def _between_kills_s(recoveries: Sequence[Recovery]) -> float:
    """Median."""
    moments = [each.since for each in recoveries if each.fault == WORKER_KILLED]
    if len(moments) < 2:
        return 0.0
    return statistics.median(after - before for before, after in itertools.pairwise(moments))


def _times(recoveries: Sequence[Recovery], account: Account) -> Iterator[str]:
    heads = ("part is back", "next result", "what it held")
    yield f"{'seconds: median / longest':<{_FAULT_CHARS}}{'times':>6}" + "".join(
        f"{head:>{_CELL_CHARS}}" for head in heads
    )
    kinds: Sequence[Callable[[Recovery], float | None]] = (
        lambda each: each.back_s,
        lambda each: each.next_result_s,
        lambda each: _held_s(each, account),
    )
    for name in dict.fromkeys(each.fault for each in recoveries):
        same = [each for each in recoveries if each.fault == name]
        cells = "".join(f"{_span(kind, same):>{_CELL_CHARS}}" for kind in kinds)
        yield f"{name:<{_FAULT_CHARS}}{len(same):>6}{cells}"


def _held_s(recovery: Recovery, account: Account) -> float | None:
    """Until everything that the dead one had in hand has its result."""
    ended = [account.ended_at[each] for each in recovery.in_hand if each in account.ended_at]
    return max(each.timestamp() for each in ended) - recovery.since if ended else None


def _span(kind: Callable[[Recovery], float | None], recoveries: Sequence[Recovery]) -> str:
    values = [value for value in map(kind, recoveries) if value is not None]
    if not values:
        return "-"
    return f"{statistics.median(values):.1f} / {max(values):.1f}"
