"""Claimed items as the decoders see them: bytes, and whether equal bytes were judged before."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from sqlalchemy.orm import Session

from core.errors import (
    DeepsweepError,
    ObjectChanged,
    ScanCancelled,
    StorageSick,
    StorageTimeout,
    StorageUnavailable,
)
from core.objects import ObjectRef, OpenObject, Storage
from core.vocabulary import SamplingPlan, Verdict
from db import crops, leases, verdicts
from db.crop_store import CropStore
from db.crops import NewCrop
from db.keeping import Draw, Keeping
from db.leases import Claim
from db.scans import ScanRecord
from db.session import Database
from detector.analyze import Analysis
from detector.media import Limits
from worker.crops import copied, is_kept
from worker.engines import EngineKey
from worker.patience import Patience
from worker.record import record_crops
from worker.storage_health import StorageHealth

_log = logging.getLogger(__name__)

#: Objects up to this size are hashed before they are decoded, so that equal bytes are not decoded
#: twice. Storage fetches so much with one request anyway.
HASH_FIRST_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What a scan asks for: what a score depends on besides the bytes."""

    scan_id: uuid.UUID
    model_version_id: int
    plan: SamplingPlan
    settings: Mapping[str, Any]
    #: How items are drawn for review, and what is kept of faces; None for nothing.
    draw: Draw
    keeping: Keeping | None

    @classmethod
    def of(cls, scan: ScanRecord) -> Judging:
        """What that scan asks for."""
        return cls(
            scan_id=scan.id,
            model_version_id=scan.model_version_id,
            plan=scan.plan,
            settings=scan.settings,
            draw=scan.draw,
            keeping=scan.keep,
        )

    @functools.cached_property
    def engine(self) -> EngineKey:
        """Which engine judges its items; asked for at every event of every item."""
        return EngineKey(self.model_version_id, tuple(sorted(self.settings.items())))


@dataclass(kw_only=True)
class ItemSource:
    """One claimed item. `sha256` and `size_bytes` are known once `open` has been left."""

    claim: Claim
    storage: Storage
    health: StorageHealth
    database: Database
    judging: Judging
    limits: Limits
    patience: Patience
    #: Whether the item's result is still wanted; asked at every read.
    is_wanted: Callable[[Claim], bool]
    #: Called in the decoding thread when the item took its verdict from equal bytes.
    on_shared: Callable[[Claim], None]
    #: Where crops lie that are kept of it.
    crop_store: CropStore
    #: None for a large remote object that was not read as a whole.
    sha256: bytes | None = field(default=None, init=False)
    size_bytes: int = field(default=0, init=False)
    #: What was fetched from the storage, repetitions included.
    bytes_read: int = field(default=0, init=False)

    @property
    def key(self) -> int:
        """The item's id."""
        return self.claim.item_id

    @property
    def plan(self) -> SamplingPlan:
        """Which frames are wanted."""
        return self.judging.plan

    def keeps(self, analysis: Analysis) -> bool:
        """Whether there are faces of it to be kept, as it was judged."""
        return bool(analysis.faces) and self._is_kept(analysis.judgement.verdict)

    def record_crops(self, session: Session, verdict: Verdict, kept: Sequence[NewCrop]) -> None:
        """Write the rows of its crops behind its result, in the same transaction."""
        keeping = self.judging.keeping
        if keeping is not None:
            draw = self.judging.draw
            record_crops(session, self.claim, verdict, kept, keeping=keeping, draw=draw)

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO | None]:
        """The bytes, or None when the verdict of equal bytes was taken over.

        Raises what storage raises, StorageSick where it fails for more than this object, and
        ScanCancelled where nobody wants the result any more.
        """
        with self._blameless():
            yield from self._open()

    def _open(self) -> Iterator[BinaryIO | None]:
        started = time.perf_counter()
        with self._object() as file:
            self.size_bytes = file.size
            known = file.sha256() if file.size <= HASH_FIRST_BYTES else file.sha256_if_known()
            if known and self._share(bytes.fromhex(known), started):
                yield None
                return
            yield cast("BinaryIO", _Wanted(file, self._check))
            self.sha256 = bytes.fromhex(known) if known else self._hash(file)
            self.bytes_read = file.bytes_read

    @contextlib.contextmanager
    def _blameless(self) -> Iterator[None]:
        """A storage that fails for everything says nothing about this object."""
        try:
            yield
        except (StorageUnavailable, StorageTimeout) as error:
            if self.health.is_sick(self.claim.uri):
                raise StorageSick(str(error)) from error
            raise

    def _object(self) -> OpenObject:
        claim = self.claim
        listed = ObjectRef(uri=claim.uri, version=claim.version, etag=claim.etag, size=claim.size)
        try:
            return self.storage.open(listed)
        except ObjectChanged:
            # Replaced since it was listed: what counts is what it is now.
            now = self.storage.stat(claim.uri)
            self._note_object(now)
            return self.storage.open(now)

    def _note_object(self, ref: ObjectRef) -> None:
        def note() -> bool:
            with self.database.transaction() as session:
                return leases.note_object(
                    session, self.claim, version=ref.version, etag=ref.etag, size=ref.size
                )

        if not self.patience.through(note):
            raise ScanCancelled(f"The claim on {self.claim.uri} was lost.")

    def _hash(self, file: OpenObject) -> bytes | None:
        """Of a film in a remote storage, what the decoder did not need is not fetched for it."""
        if not self.claim.uri.startswith("file:") and file.bytes_read < file.size:
            return None
        return bytes.fromhex(file.sha256())

    def _check(self) -> None:
        if not self.is_wanted(self.claim):
            raise ScanCancelled(f"Nobody wants the result of {self.claim.uri} any more.")

    def _share(self, sha256: bytes, started: float) -> bool:
        shared = self.patience.through(lambda: self._take_over(sha256, started))
        if shared:
            self.on_shared(self.claim)
        return shared

    def _take_over(self, sha256: bytes, started: float) -> bool:
        """Whether equal bytes have a verdict, and crops where this item is to have some, too."""
        with self.database.reading() as session:
            known = verdicts.find_shared(
                session,
                sha256=sha256,
                model_version_id=self.judging.model_version_id,
                plan=self.judging.plan,
                settings=self.judging.settings,
            )
        if known is None:
            return False
        with self.database.transaction() as session:
            verdict = verdicts.called(session, known)
            if verdict is None:
                return False
            sources = crops.of_verdict(session, known)
        kept = self._copied(verdict, sources)
        if kept is None:
            return False
        timings = verdicts.Timings(fetch=(time.perf_counter() - started) * 1e3)
        with self.database.transaction(wait_for_disk=False) as session:
            done = verdicts.record_shared(session, self.claim, known, timings)
            if done and kept:
                self.record_crops(session, verdict, kept)
            return done

    def _copied(
        self, verdict: Verdict, sources: Sequence[crops.KeptCrop]
    ) -> tuple[NewCrop, ...] | None:
        """Copies of the crops; None where some are wanted and not to be had: judge it anew."""
        if not self._is_kept(verdict):
            return ()
        try:
            return copied(self.crop_store, self.claim, sources) or None
        except DeepsweepError as error:
            _log.warning("crops_not_copied", extra={"code": error.code})
            return None

    def _is_kept(self, verdict: Verdict) -> bool:
        return is_kept(self.claim, verdict, self.judging.keeping, self.judging.draw)


class _Wanted:
    """Reads through, as long as somebody wants the result."""

    def __init__(self, file: OpenObject, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check

    def read(self, size: int = -1, /) -> bytes:
        self._check()
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._file.expect(ranges)
