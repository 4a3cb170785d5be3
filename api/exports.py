"""A scan's results as one stream: JSON lines, CSV or Parquet, in constant memory.

Each page is read in a transaction of its own, so that a slow reader holds no connection. Items that
end while the stream goes on may be in it or not; each is in it at most once.
"""

from __future__ import annotations

import csv
import dataclasses
import enum
import io
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from api import views
from api.services import Services
from db import documents, exports
from db.documents import Filter
from db.exports import FlatItem

#: Items of a page: whole documents with their frames, and flat rows.
DOCUMENTS, ROWS = 200, 2_000
#: Rows that Parquet puts together: its reader works on so many at once.
ROW_GROUP = 20_000
COLUMNS = [field.name for field in dataclasses.fields(FlatItem)]


class Format(enum.StrEnum):
    """What an export can be written in."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.JSONL: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
}


def stream(
    services: Services, scan_id: uuid.UUID, written: Format, wanted: Filter
) -> Iterator[bytes]:
    """The export, piece by piece. Raises DatabaseUnavailable on the way."""
    if written is Format.JSONL:
        return _jsonl(services, scan_id, wanted)
    writer = _csv if written is Format.CSV else _parquet
    return writer(_pages(services, scan_id, wanted))


def _jsonl(services: Services, scan_id: uuid.UUID, wanted: Filter) -> Iterator[bytes]:
    while True:
        with services.database.transaction() as session:
            found = documents.item_documents(session, scan_id, wanted, limit=DOCUMENTS)
        lines = [json.dumps(views.shown(each, services.uploads)) for each in found]
        yield "".join(f"{line}\n" for line in lines).encode()
        if len(found) < DOCUMENTS:
            return
        wanted = dataclasses.replace(wanted, after=found[-1]["id"])


def _pages(
    services: Services, scan_id: uuid.UUID, wanted: Filter
) -> Iterator[list[dict[str, Any]]]:
    shown = services.uploads.shown
    while True:
        with services.database.transaction() as session:
            rows = exports.page(session, scan_id, wanted, limit=ROWS)
        yield [_values(row, shown) for row in rows]
        if len(rows) < ROWS:
            return
        wanted = dataclasses.replace(wanted, after=rows[-1].id)


def _values(row: FlatItem, shown: Callable[[str], str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in COLUMNS} | {"uri": shown(row.uri)}


def _csv(pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    """RFC 4180, UTF-8. No cell of ours can begin like a formula: URIs and sentences do not."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for page in pages:
        for row in page:
            moment = row["finished_at"]
            writer.writerow(row | {"finished_at": moment.isoformat() if moment else None})
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _parquet(pages: Iterator[list[dict[str, Any]]]) -> Iterator[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    schema, drain, rows = _schema(), _Drain(), []
    with parquet.ParquetWriter(drain, schema, compression="zstd") as writer:
        for page in pages:
            rows += page
            if len(rows) >= ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
                yield drain.taken()
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    yield drain.taken()


def _schema() -> Any:
    import pyarrow as pa

    integers = dict.fromkeys(("id", "width", "height", "bytes", "frames", "faces"), pa.int64())
    others = {
        "people": pa.int64(),
        "score": pa.float64(),
        "duration_s": pa.float64(),
        "shared": pa.bool_(),
        "finished_at": pa.timestamp("us", tz="UTC"),
    }
    types = integers | others
    return pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])


class _Drain(io.RawIOBase):
    """A file that is handed on piece by piece; Parquet only ever appends."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._pieces.append(data)
        self._position += len(data)
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
