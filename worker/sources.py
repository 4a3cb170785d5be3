"""Claimed items as the decoders see them: bytes, and whether equal bytes were judged before."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from core.objects import ObjectRef, Storage
from core.vocabulary import SamplingPlan
from db import verdicts
from db.leases import Claim
from db.session import Database

#: Objects up to this size are hashed before they are decoded, so that equal bytes are not decoded
#: twice; larger ones are hashed while or after they are read.
HASH_FIRST_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What a score depends on besides the bytes."""

    scan_id: uuid.UUID
    model_version_id: int
    plan: SamplingPlan
    settings: Mapping[str, Any]


@dataclass(kw_only=True)
class ItemSource:
    """One claimed item. `sha256` and `size_bytes` are known once `open` has been left."""

    claim: Claim
    storage: Storage
    database: Database
    judging: Judging
    #: Called in the decoding thread when the item took its verdict from equal bytes.
    on_shared: Callable[[Claim], None]
    sha256: bytes = field(default=b"", init=False)
    size_bytes: int = field(default=0, init=False)

    @property
    def key(self) -> int:
        """The item's id."""
        return self.claim.item_id

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO | None]:
        """The bytes, or None when the verdict of equal bytes was taken over."""
        started = time.perf_counter()
        claim = self.claim
        ref = ObjectRef(uri=claim.uri, version=claim.version, etag=claim.etag, size=claim.size)
        with self.storage.open(ref) as file:
            self.size_bytes = file.size
            known = file.sha256() if file.size <= HASH_FIRST_BYTES else file.sha256_if_known()
            if known and self._share(bytes.fromhex(known), started):
                yield None
                return
            yield file
            self.sha256 = bytes.fromhex(file.sha256())

    def _share(self, sha256: bytes, started: float) -> bool:
        with self.database.transaction() as session:
            verdict_id = verdicts.find_shared(
                session,
                sha256=sha256,
                model_version_id=self.judging.model_version_id,
                plan=self.judging.plan,
                settings=self.judging.settings,
            )
            if verdict_id is None:
                return False
            timings = verdicts.Timings(fetch=(time.perf_counter() - started) * 1e3)
            shared = verdicts.record_shared(session, self.claim, verdict_id, timings)
        if shared:
            self.on_shared(self.claim)
        return shared
