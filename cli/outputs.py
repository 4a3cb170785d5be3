"""Files that a scan writes: JSON lines and CSV, streamed, each put in place at the end.

Nothing holds a whole scan. A file appears under its name only when it is complete, so that a
reader never sees half of it and an interrupted write leaves the earlier file as it was.
"""

from __future__ import annotations

import csv
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cli.documents import Document, face_count, kind, why
from core.errors import OutputNotWritten, UsageError

#: Takes one item's document.
Write = Callable[[Document], None]

#: Stands for standard output.
STDOUT = "-"

COLUMNS = (
    "uri",
    "status",
    "verdict",
    "score",
    "model",
    "kind",
    "width",
    "height",
    "duration_s",
    "sha256",
    "frames",
    "faces",
    "people",
    "reason",
    "error_code",
    "error_message",
)

#: A spreadsheet takes a cell that starts with one of these for a formula (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def check_target(option: str, target: str) -> None:
    """Refuse, before hours of scanning, a file that cannot be written. Raises UsageError."""
    if target == STDOUT:
        return
    path = Path(target).resolve()
    if target.endswith(os.sep) or path.is_dir():
        raise UsageError(f"{option} {target}: that is a folder; name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_replaceable(path):
            # Rights alone do not tell: a full or read-only disk and /proc say no only when asked.
            with _part(path).open("x"):
                _part(path).unlink()
    except OSError as error:
        raise UsageError(f"{option} {target}: {error.strerror or error}.") from error
    if path.exists() and not os.access(path, os.W_OK):
        raise UsageError(f"{option} {target}: no permission to write there.")


@contextmanager
def replacing(target: str) -> Iterator[TextIO]:
    """A text file that takes its name only when the block ends well.

    Pipes and devices such as /dev/stdout cannot be renamed over and are written directly. Raises
    OutputNotWritten, when the disk is full for example.
    """
    path = Path(target).resolve()
    try:
        if not _is_replaceable(path):
            with _text(path) as stream:
                yield stream
            return
        part = _part(path)
        try:
            with _text(part) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except BrokenPipeError:
        raise  # the reader has had enough
    except OSError as error:
        raise OutputNotWritten(
            f"{target} could not be written: {error.strerror or error}. What was found is kept; "
            "the same command writes it without scanning again."
        ) from error


def _is_replaceable(path: Path) -> bool:
    return not path.exists() or stat.S_ISREG(path.stat().st_mode)


def _part(path: Path) -> Path:
    """Where a file is written before it takes its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


@contextmanager
def json_lines(target: str) -> Iterator[Write]:
    """Write each document as one line of JSON; `-` is standard output."""
    if target == STDOUT:
        yield lambda document: print_line(document)
        return
    with replacing(target) as stream:
        yield lambda document: _json_line(stream, document)


def print_line(document: Document) -> None:
    """One document on standard output, at once, so that a pipe sees it as the item ends."""
    _json_line(sys.stdout, document)
    sys.stdout.flush()


@contextmanager
def csv_rows(target: str) -> Iterator[Write]:
    """Write a header and then each document as one row; `-` is standard output."""
    if target == STDOUT:
        yield _csv_writer(sys.stdout)
        return
    with replacing(target) as stream:
        yield _csv_writer(stream)


def csv_row(document: Document) -> dict[str, Any]:
    """The item as one flat row, without its frames; None becomes an empty cell."""
    media = document["media"] or {}
    error = document["error"] or {}
    return {
        "uri": document["uri"],
        "status": document["status"],
        "verdict": document["verdict"],
        "score": document["score"],
        "model": document["model"],
        "kind": kind(document),
        "width": media.get("width"),
        "height": media.get("height"),
        "duration_s": media.get("duration_s"),
        "sha256": media.get("sha256"),
        "frames": len(document["frames"]),
        "faces": face_count(document),
        "people": len(document["tracks"]),
        "reason": None if error else why(document),
        "error_code": error.get("code"),
        "error_message": error.get("message"),
    }


def spreadsheet_safe(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front of it."""
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _json_line(stream: TextIO, document: Document) -> None:
    # ASCII escapes survive any terminal's encoding and file names that are not valid Unicode.
    stream.write(json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n")


def _csv_writer(stream: TextIO) -> Write:
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()

    def write(document: Document) -> None:
        row = csv_row(document)
        writer.writerow({column: spreadsheet_safe(value) for column, value in row.items()})

    return write
