"""How often a caller may ask, and how long listen: counted in the memory of each process.

A bucket in PostgreSQL would be exact over all processes, at the price of one hot row for each key
and a write for every request, also for those that are refused. Here a request costs a dictionary's
look-up, and refusing costs nothing; with several processes each gives out its share
(`DEEPSWEEP_API_PROCESSES`), which is exact as long as they are asked evenly. A limit protects the
service from a runaway client; nobody is billed by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator

from core.errors import RateLimited

#: Progress streams of one process: each costs a query or two a second.
MAX_STREAMS = 200
#: Buckets kept at most; the longest unused go first, and were full by then in all likelihood.
MAX_BUCKETS = 20_000


class Buckets:
    """A token bucket for each name. Thread safe."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, most: int = MAX_BUCKETS
    ) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        #: Tokens and when they were counted.
        self._kept: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, name: Hashable, *, per_minute: float, burst: float) -> float:
        """Take a token: 0 where there was one, else the seconds until there is."""
        with self._lock:
            tokens = self._tokens(name, per_minute, burst)
            if tokens >= 1:
                self._keep(name, tokens - 1)
                return 0.0
            return (1 - tokens) * 60 / per_minute

    def wait_s(self, name: Hashable, *, per_minute: float, burst: float) -> float:
        """Seconds until there is a token, 0 where there is one; takes none."""
        with self._lock:
            missing = 1 - self._tokens(name, per_minute, burst)
            return max(0.0, missing * 60 / per_minute)

    def _tokens(self, name: Hashable, per_minute: float, burst: float) -> float:
        if name not in self._kept:
            return burst
        tokens, since = self._kept[name]
        return min(burst, tokens + (self._clock() - since) * per_minute / 60)

    def _keep(self, name: Hashable, tokens: float) -> None:
        self._kept[name] = (tokens, self._clock())
        self._kept.move_to_end(name)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Guesses:
    """How often keys may be guessed from one network. Thread safe.

    Keys that were good before are let past: whoever shares an address with somebody who guesses is
    not locked out. Nothing of them is kept but a hash, and they are looked up each time.
    """

    #: Unknown keys a minute, and at once.
    PER_MINUTE = 30
    AT_ONCE = 60

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(clock=clock)
        self._lock = threading.Lock()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def wait_s(self, client: str, token: str) -> float:
        """Seconds until this token may be looked up for this client, 0 where it may now."""
        with self._lock:
            if _digest(token) in self._good:
                return 0.0
        return self._buckets.wait_s(network(client), per_minute=self.PER_MINUTE, burst=self.AT_ONCE)

    def wrong(self, client: str) -> None:
        """A token of this client was unknown."""
        self._buckets.take(network(client), per_minute=self.PER_MINUTE, burst=self.AT_ONCE)

    def right(self, token: str) -> None:
        """The token is a valid key."""
        with self._lock:
            self._good[_digest(token)] = None
            self._good.move_to_end(_digest(token))
            while len(self._good) > MAX_BUCKETS:
                self._good.popitem(last=False)


class SignIns(Guesses):
    """How often signing in may fail from one network: people type, and type again. Thread safe."""

    PER_MINUTE = 10
    AT_ONCE = 10


class Streams:
    """Counts the streams that are open. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0

    def is_full(self) -> bool:
        """Whether there are as many as there may be."""
        return self._open >= MAX_STREAMS

    def check(self) -> None:
        """Raise RateLimited where there are too many already."""
        if self.is_full():
            raise RateLimited("Too many progress streams are open.", retry_after_s=10)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """One more, inside the block."""
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1


def network(client: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that one IPv6 customer has."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return client
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
