"""The curves of a training run as SVG: loss on the left axis, validation score on the right.

Everything in the markup is a number. Colours are those of the page around it where it is inlined
(`currentColor`), and readable on both themes where it stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, ROOM = 640, 240, 44
_LOSS, _SCORE = "#c2571a", "#2a7fba"


def draw(curve: Sequence[Mapping[str, float]]) -> str:
    """SVG of points with `step`, `loss` and, where it was measured, `score`; empty axes of none."""
    last = max((point["step"] for point in curve), default=1.0) or 1.0
    losses = [(p["step"], p["loss"]) for p in curve]
    scores = [(p["step"], p["score"]) for p in curve if p.get("score") is not None]
    highest = max((loss for _, loss in losses), default=1.0) or 1.0
    body = [
        _line(losses, last, highest, _LOSS),
        _line(scores, last, 1.0, _SCORE),
        *(_dot(x, y, last) for x, y in scores),
        *_axes(last, highest),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'color="#808080" font-family="system-ui, sans-serif" font-size="12">'
        f"<title>{_title(losses, scores)}</title>{''.join(body)}</svg>"
    )


def _title(losses: Sequence[tuple[float, float]], scores: Sequence[tuple[float, float]]) -> str:
    if not losses:
        return "No training step was done yet"
    said = f"Loss {losses[-1][1]:.3f} after {losses[-1][0]:.0f} steps"
    return said + (f", validation score {scores[-1][1]:.3f}" if scores else "")


def _at(x: float, y: float, last: float, highest: float) -> tuple[float, float]:
    return (
        ROOM + x / last * (WIDTH - 2 * ROOM),
        HEIGHT - ROOM - y / highest * (HEIGHT - 2 * ROOM),
    )


def _line(points: Sequence[tuple[float, float]], last: float, highest: float, colour: str) -> str:
    path = " ".join("{:.1f},{:.1f}".format(*_at(x, y, last, highest)) for x, y in points)
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>'


def _dot(x: float, y: float, last: float) -> str:
    left, top = _at(x, y, last, 1.0)
    return f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{_SCORE}"/>'


def _axes(last: float, highest: float) -> list[str]:
    bottom, right = HEIGHT - ROOM, WIDTH - ROOM
    frame = f"M{ROOM} {ROOM}V{bottom}H{right}V{ROOM}"
    return [
        f'<path d="{frame}" fill="none" stroke="currentColor"/>',
        _text(ROOM - 6, ROOM + 4, f"{highest:.2f}", "end", _LOSS),
        _text(ROOM - 6, bottom, "0", "end", _LOSS),
        _text(ROOM, ROOM - 12, "loss", "start", _LOSS),
        _text(right + 6, ROOM + 4, "1", "start", _SCORE),
        _text(right + 6, bottom, "0", "start", _SCORE),
        _text(right, ROOM - 12, "score on validation", "end", _SCORE),
        _text(right, bottom + 18, f"step {last:.0f}", "end", "currentColor"),
    ]


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
