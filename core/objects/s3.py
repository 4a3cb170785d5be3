"""S3 and what speaks like it: listing, and reading by ranges that stay on one ETag.

A small object is one GET. A large one is fetched in blocks as they are asked for, several at once
where the reading goes straight on, and a few blocks are kept, because decoders read little and
often; those that are let go of are spooled to a file, so that none is fetched twice. A reader that
says beforehand which ranges it needs gets these and no more. Every GET carries the ETag
(`If-Match`), so that all bytes of an open object are of one version of it.
"""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import IncompleteReadError

from core.errors import AccessDenied, FileTooLarge, ObjectChanged, ObjectMissing, StorageRefused
from core.objects.base import PAGE_ENTRIES, Entry, Filter, ObjectRef
from core.objects.s3_terms import BROKEN_BODY, CHANGED, FAILURES, Place, translated, undeleted
from core.objects.spool import Spool
from core.settings import Settings

#: Objects up to this size are fetched whole with one GET.
WHOLE_BYTES = 8 << 20
#: Larger ones are fetched in multiples of this.
BLOCK_BYTES = 512 << 10
#: Blocks fetched by one GET, at most, when the reading goes straight on.
MAX_SPAN_BLOCKS = 16
#: Blocks kept for one open object.
KEPT_BLOCKS = 32
#: Of an expected range, fetched by one GET at most.
MAX_PART_BYTES = 8 << 20
#: Pieces in which a body is taken from the connection; a broken one loses less than this.
RECEIVE_BYTES = 128 << 10
#: Pause before a broken body is asked for again: up to this, doubled each time, with jitter.
BROKEN_BODY_PAUSE_S = 0.2


class S3:
    """One client for a process, made when it is first needed. Thread safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: Any = None

    @property
    def attempts(self) -> int:
        """How often a request, and a body that broke, is tried in all."""
        return self._settings.s3_attempts

    def new_spool(self) -> Spool:
        """Room for one object's blocks."""
        return Spool(self._settings.data_dir / "spool", self._settings.spool_bytes)

    def walk(self, source: str, after: str | None, wanted: Filter) -> Iterator[Entry]:
        """Every object that the source names, in the order of the bucket, one page at a time."""
        place = Place.parse(source)
        if not place.is_prefix:
            try:
                entry = Entry(cursor=place.key, found=self.stat(place))
            except ObjectMissing:
                # People leave the slash away: `s3://bucket/photos` for everything under it.
                place = Place(bucket=place.bucket, key=f"{place.key}/", version=place.version)
                if place.version is not None or not self._holds_anything(place):
                    raise
            else:
                if after is None and wanted.wants(place.key.rpartition("/")[2]):
                    yield entry
                return
        yield from self._walk_prefix(place, after, wanted)

    def stat(self, place: Place) -> ObjectRef:
        """One HEAD request. Raises ObjectMissing, BucketMissing, AccessDenied, Storage...."""
        try:
            head = self.call("head_object", place, **place.parameters())
        except ObjectMissing:
            # An answer to HEAD has no body that could say what is missing: key or bucket.
            with suppress(AccessDenied):
                self.call("list_objects_v2", place, Bucket=place.bucket, MaxKeys=1)
            raise
        return _ref(place, head["ETag"], head["ContentLength"])

    def open(self, ref: ObjectRef, max_bytes: int) -> S3Source:
        """Fetch the beginning, small objects whole. Raises like `Storage.open`."""
        place = Place.parse(ref.uri)
        if ref.version is not None:
            place = Place(bucket=place.bucket, key=place.key, version=ref.version)
        found = ref if ref.size is not None and ref.etag is not None else self.stat(place)
        if ref.etag not in (None, found.etag):
            raise ObjectChanged(f"{place} was changed after it was listed; scan it again.")
        size = found.size or 0
        if size > max_bytes:
            raise FileTooLarge(f"{place} has {size:,} bytes; the limit is {max_bytes:,}.")
        return S3Source(self, place, size=size, etag=found.etag)

    def delete(self, uris: Sequence[str]) -> None:
        """Remove keys, a thousand with one request. Raises like `Storage.delete`."""
        keys: dict[str, list[Place]] = {}
        for place in map(Place.parse, uris):
            keys.setdefault(place.bucket, []).append(place)
        for bucket, places in keys.items():
            for start in range(0, len(places), PAGE_ENTRIES):
                self._delete(bucket, places[start : start + PAGE_ENTRIES])

    def _delete(self, bucket: str, places: Sequence[Place]) -> None:
        wanted = {"Objects": [{"Key": place.key} for place in places], "Quiet": True}
        answer = self.call("delete_objects", places[0], Bucket=bucket, Delete=wanted)
        for failed in answer.get("Errors", ()):
            if failed["Code"] not in ("NoSuchKey", "NoSuchVersion"):
                raise undeleted(failed["Code"], Place(bucket=bucket, key=failed["Key"]))

    def drop_unfinished(self, prefix: str, is_over: Callable[[str], bool]) -> int:
        """Multipart uploads. Raises like `Storage.drop_unfinished`."""
        place, dropped = Place.parse(prefix), 0
        marker: dict[str, str] = {}
        while True:
            where = {"Bucket": place.bucket, "Prefix": place.key}
            page = self.call("list_multipart_uploads", place, **where, **marker)
            for found in page.get("Uploads", ()):
                begun = Place(bucket=place.bucket, key=found["Key"])
                if is_over(begun.uri):
                    self._abort(begun, found["UploadId"])
                    dropped += 1
            if not page.get("IsTruncated"):
                return dropped
            marker = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def _abort(self, place: Place, upload_id: str) -> None:
        with suppress(ObjectMissing):  # finished meanwhile
            self.call("abort_multipart_upload", place, **place.parameters(), UploadId=upload_id)

    def call(self, operation: str, place: Place, **parameters: Any) -> dict[str, Any]:
        """One operation of boto3's client, its failures as errors of ours about the place."""
        try:
            return getattr(self._client(), operation)(**parameters)
        except FAILURES as error:
            raise translated(error, place) from None

    def _holds_anything(self, prefix: Place) -> bool:
        answer = self.call(
            "list_objects_v2", prefix, Bucket=prefix.bucket, Prefix=prefix.key, MaxKeys=1
        )
        return bool(answer.get("Contents"))

    def _walk_prefix(self, place: Place, after: str | None, wanted: Filter) -> Iterator[Entry]:
        empty = True
        for item in self._items(place, after):
            empty = False
            key, size = item["Key"], item["Size"]
            # Consoles make an empty object `photos/` to show a folder: that is no object.
            is_folder = key.endswith("/") and not size
            listed = not is_folder and wanted.wants(key[len(place.key) :])
            here = Place(bucket=place.bucket, key=key)
            yield Entry(cursor=key, found=_ref(here, item["ETag"], size) if listed else None)
        if empty and after is None and place.key:
            raise ObjectMissing(f"Nothing in the bucket begins with {place}.")

    def _items(self, place: Place, after: str | None) -> Iterator[dict[str, Any]]:
        start = {} if after is None else {"StartAfter": after}
        try:
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(
                    Bucket=place.bucket,
                    Prefix=place.key,
                    PaginationConfig={"PageSize": PAGE_ENTRIES},
                    **start,
                )
            )
            for page in pages:
                yield from page.get("Contents", ())
        except FAILURES as error:
            raise translated(error, place) from None

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = _make_client(self._settings)
            return self._made


def _make_client(settings: Settings) -> Any:
    # A session of its own: boto3's default one is not thread safe.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        config=Config(
            connect_timeout=settings.s3_connect_timeout_s,
            read_timeout=settings.s3_read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": settings.s3_attempts},
            max_pool_connections=max(10, settings.decode_workers + settings.fetch_workers),
            # A custom endpoint rarely has a DNS name for every bucket.
            s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            # Servers of others send checksums of the whole object with a range of it.
            response_checksum_validation="when_required",
        ),
    )


def _ref(place: Place, etag: str, size: int) -> ObjectRef:
    return ObjectRef(uri=place.uri, version=place.version, etag=etag.strip('"'), size=size)


class S3Source:
    """A ByteSource over one object, pinned to one ETag."""

    def __init__(self, s3: S3, place: Place, *, size: int, etag: str | None) -> None:
        """Fetches the first block, so that an object that cannot be read fails here."""
        self._s3 = s3
        self._place = place
        self.size = size
        self.etag = etag
        self.bytes_read = 0
        self._block_bytes = BLOCK_BYTES if size > WHOLE_BYTES else max(size, 1)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._spool = s3.new_spool()
        #: The block behind the last one fetched, and how many were fetched together with it.
        self._next, self._span = 0, 1
        self._expected: Sequence[tuple[int, int]] = ()
        #: The part of an expected range that was fetched last, and where it begins.
        self._part: tuple[int, bytes] = (0, b"")
        self._load(0, 1)

    def read_at(self, offset: int, size: int) -> memoryview:
        """As ByteSource says: what the block or the expected range at this offset holds."""
        start, part = self._part
        if start <= offset < start + len(part):
            return memoryview(part)[offset - start :][:size]
        number = offset // self._block_bytes
        expected = None if self._is_kept(number) else self._expected_at(offset)
        if expected is not None:
            self._part = (offset, self._fetch(offset, min(expected, offset + MAX_PART_BYTES)))
            return memoryview(self._part[1])[:size]
        number, start = divmod(offset, self._block_bytes)
        return memoryview(self._block(number))[start : start + size]

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """As ByteSource says."""
        self._expected = ranges

    def _expected_at(self, offset: int) -> int | None:
        """The end of the expected range that an offset lies in."""
        at = bisect_right(self._expected, offset, key=lambda each: each[0]) - 1
        stop = self._expected[at][1] if at >= 0 else 0
        return stop if offset < stop else None

    def stated_sha256(self) -> str | None:
        """From memory where all of it is there; else S3's own, which it verified on upload."""
        if self._block_bytes >= self.size:
            return hashlib.sha256(self._block(0)).hexdigest()
        head = self._s3.call(
            "head_object",
            self._place,
            **self._place.parameters(),
            **self._condition(),
            ChecksumMode="ENABLED",
        )
        stated = head.get("ChecksumSHA256")
        # `...-3` is a hash of the hashes of three parts.
        if not stated or "-" in stated or head.get("ChecksumType") == "COMPOSITE":
            return None
        return base64.b64decode(stated).hex()

    def close(self) -> None:
        """Drop the blocks."""
        self._blocks.clear()
        self._spool.close()

    def _block(self, number: int) -> bytes:
        if number not in self._blocks and (spooled := self._spool.get(number)) is not None:
            self._blocks[number] = spooled
            self._let_go()
        if number not in self._blocks:
            straight_on = number == self._next
            self._span = min(self._span * 2, MAX_SPAN_BLOCKS) if straight_on else 1
            self._load(number, self._span)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _is_kept(self, number: int) -> bool:
        return number in self._blocks or number in self._spool

    def _let_go(self) -> None:
        while len(self._blocks) > KEPT_BLOCKS:
            self._spool.put(*self._blocks.popitem(last=False))

    def _load(self, first: int, count: int) -> None:
        step = self._block_bytes
        known = filter(self._is_kept, range(first + 1, first + count))
        last = next(known, first + count)
        data = self._fetch(first * step, min(last * step, self.size))
        for number, start in enumerate(range(0, max(len(data), 1), step), first):
            self._blocks[number] = data[start : start + step]
        self._let_go()
        self._next = last

    def _fetch(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`; a body that breaks off is continued where it broke."""
        got = bytearray()
        broken: Exception | None = None
        for attempt in range(self._s3.attempts):
            if attempt:
                time.sleep(random.uniform(0, BROKEN_BODY_PAUSE_S * 2**attempt))
            try:
                self._receive(got, start, stop)
            except BROKEN_BODY as error:
                broken = error
            else:
                return bytes(got)
        assert broken is not None
        raise translated(broken, self._place) from None

    def _receive(self, got: bytearray, start: int, stop: int) -> None:
        missing = stop - start - len(got)
        body = self._request(start + len(got), stop)
        try:
            while missing:
                piece = body.read(min(missing, RECEIVE_BYTES))
                if not piece:
                    raise IncompleteReadError(actual_bytes=len(got), expected_bytes=stop - start)
                got += piece
                missing -= len(piece)
                self.bytes_read += len(piece)
        finally:
            body.close()

    def _request(self, start: int, stop: int) -> Any:
        whole = stop - start == self.size
        wanted = {} if whole else {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._s3.call(
            "get_object", self._place, **self._place.parameters(), **self._condition(), **wanted
        )
        if self.etag is not None and answer["ETag"].strip('"') != self.etag:
            answer["Body"].close()
            raise CHANGED.about(self._place)
        if answer["ContentLength"] != stop - start:
            answer["Body"].close()
            raise StorageRefused(
                f"The storage was asked for {stop - start:,} bytes of {self._place} and announced "
                f"{answer['ContentLength']:,}; it has to serve byte ranges (HTTP 206)."
            )
        return answer["Body"]

    def _condition(self) -> dict[str, str]:
        return {} if self.etag is None else {"IfMatch": f'"{self.etag}"'}
