"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime


def percent(share: float | None, digits: int = 0) -> str:
    """0.931 as 93%; what is not known as a dash."""
    if share is None:
        return "–"
    return f"{share * 100:.{digits}f}%"


def number(value: float | None) -> str:
    """With separators; what is not known as a dash."""
    return "–" if value is None else f"{value:,}"


def ago(seconds: float | None) -> str:
    """A time span in its largest unit that is at least two of: 95 as 95 s, 7300 as 2 h."""
    if seconds is None:
        return "–"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(time: datetime | None) -> str:
    """To the minute, UTC."""
    return "–" if time is None else f"{time:%Y-%m-%d %H:%M}"
