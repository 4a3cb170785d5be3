"""The parts of documents that benchmarks write themselves, between two marks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cli.outputs import replacing


def marks(name: str) -> tuple[str, str]:
    """The lines around the part of that name."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def replace(path: Path, name: str, lines: Iterable[str]) -> None:
    """Put `lines` between the marks of `name`; at the document's end where it has none."""
    begin, end = marks(name)
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(begin)
    after = rest.partition(end)[2] if mark else "\n"
    if not mark:
        before = before.rstrip("\n") + "\n\n"
    body = "\n".join(lines)
    with replacing(str(path)) as stream:
        stream.write(f"{before}{begin}\n{body}\n{end}{after}")
