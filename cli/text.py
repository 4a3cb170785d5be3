"""Words, bars and colours of the terminal output."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.vocabulary import Verdict

#: How each outcome looks. `no_face` and `uncertain` never look like `real`.
STYLES = {
    Verdict.FAKE: "bold red",
    Verdict.UNCERTAIN: "yellow",
    Verdict.REAL: "cyan",
    Verdict.NO_FACE: "dim",
    "failed": "magenta",
}

#: A sign beside the colour, for those who do not see it and for plain logs.
SIGNS = {
    Verdict.FAKE: "▲",
    Verdict.UNCERTAIN: "◆",
    Verdict.REAL: "●",
    Verdict.NO_FACE: "○",
    "failed": "✕",
}

#: Columns of output that goes to a pipe or file.
PIPE_WIDTH = 200

_EIGHTHS = " ▏▎▍▌▋▊▉"


def printable(text: str) -> str:
    """The text with control and direction characters made visible.

    File names come from strangers; an escape sequence in one must not reach the terminal.
    """
    return "".join(
        character
        if unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def place(uri: str) -> str:
    """A URI as a person would type it: a path below the current folder, a path, or the URI."""
    if not uri.startswith("file://"):
        return printable(uri)
    path = unquote(uri.removeprefix("file://"))
    here = f"{Path.cwd()}/"
    return printable(path.removeprefix(here))


def common_folder(names: Sequence[str]) -> str:
    """The folder that all names share, with its slash at the end; empty where there is none."""
    levels = zip(*(name.split("/")[:-1] for name in names), strict=False)
    shared = takewhile(lambda level: len(set(level)) == 1, levels)
    return "".join(f"{level[0]}/" for level in shared)


def console(*, stderr: bool = False) -> Console:
    """Standard output or error; what is no terminal gets lines wide enough for whole sentences.

    Names are shown as they are: `[/]` in one is no markup, and `:heart:` no picture.
    """
    found = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = PIPE_WIDTH
    return found


def table(*headers: str, **options: Any) -> Table:
    """A table without lines, as every command prints it."""
    return Table(*headers, box=None, header_style="dim", pad_edge=False, **options)


def shortened(text: str, width: int) -> str:
    """At most `width` characters, cut in the middle, because names tell most at their ends."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def outcome_text(outcome: str) -> Text:
    """Sign and word of a verdict or of `failed`."""
    return Text(f"{SIGNS[outcome]} {outcome}", style=STYLES[outcome])


def score_text(score: float | None) -> str:
    """Two digits; a dash where there is no score."""
    return "–" if score is None else f"{score:.2f}"


def bar(share: float, width: int = 10) -> str:
    """A bar of `width` characters for a share of 0..1, to an eighth of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def count(number: int, singular: str, plural: str | None = None) -> str:
    """`1 item`, `2,000 items`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def size(number: int | None) -> str:
    """Bytes as a person reads them; a dash where unknown."""
    if number is None:
        return "–"
    amount, units = float(number), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}" if amount < 1000 else f"{amount:,.0f} {units[0]}"


def seconds(duration_s: float | None) -> str:
    """`4.2 s`, `1:05`, `2:00:00`; a dash where unknown."""
    if duration_s is None:
        return "–"
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, rest = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
