"""Whether a storage as a whole is sick, so that none of its objects is blamed for it.

An object that cannot be read may be broken alone, or the storage may fail for everything. The
second is asked for by another request: the first keys of the bucket. Whatever answer comes, also
a refusal, shows a storage that answers.
"""

from __future__ import annotations

import logging
import threading
import time

from core.errors import DeepsweepError, StorageTimeout, StorageUnavailable
from core.objects import Storage

_log = logging.getLogger(__name__)

#: An answer holds for so long: a thousand items that fail together ask once.
_HOLDS_S = 5.0


class StorageHealth:
    """What is known of the storages that failed lately. Safe to use from several threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        #: By bucket: when it was asked, on the monotonic clock, and whether it was sick.
        self._known: dict[str, tuple[float, bool]] = {}

    def is_sick(self, uri: str) -> bool:
        """Whether the storage that holds this object, which just failed, fails for everything."""
        scheme, _, rest = uri.partition("://")
        if scheme == "file":
            return False
        bucket = f"{scheme}://{rest.partition('/')[0]}/"
        # Under the lock: those that failed together wait for one answer.
        with self._lock:
            asked_at, sick = self._known.get(bucket, (-_HOLDS_S, False))
            if time.monotonic() - asked_at > _HOLDS_S:
                sick = self._ask(bucket)
                self._known[bucket] = (time.monotonic(), sick)
            return sick

    def _ask(self, bucket: str) -> bool:
        try:
            next(self._storage.list(bucket), None)
        except (StorageUnavailable, StorageTimeout) as error:
            _log.error("storage_sick", extra={"storage": bucket, "code": error.code})
            return True
        except DeepsweepError:
            return False
        return False
