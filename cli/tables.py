"""Tables on the terminal, from item documents and model cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli import text
from cli.documents import (
    FAILED,
    OUTCOMES,
    Document,
    Tally,
    face_count,
    outcome,
    top_track,
    track_series,
    why,
)

#: Rows of the table that ends a scan.
SUMMARY_ROWS = 40
#: Characters of a file's name in that table.
NAME_WIDTH = 44


def summary(worst: Sequence[Document], tally: Tally) -> RenderableType:
    """The table that ends a scan, worst first, and one line that counts everything."""
    shown = worst[:SUMMARY_ROWS]
    names = [text.place(document["uri"]) for document in shown]
    folder = text.common_folder(names)
    table = _table("file", "verdict", "score", "faces", "why", title=None)
    table.columns[2].justify = table.columns[3].justify = "right"
    # Only the reason gives way where the terminal is narrow: an item is a line.
    for column in table.columns[:-1]:
        column.no_wrap = True
    for name, document in zip(names, shown, strict=True):
        table.add_row(
            Text(text.shortened(name.removeprefix(folder), NAME_WIDTH)),
            text.outcome_text(outcome(document)),
            text.score_text(document["score"]),
            str(face_count(document)),
            Text(text.printable(why(document)), no_wrap=True, overflow="ellipsis"),
        )
    parts: list[RenderableType] = []
    if shown:
        parts += [Text(f"in {folder}", style="dim")] if folder else []
        parts.append(table)
    hidden = tally.items - len(shown)
    if hidden > 0:
        parts.append(Text(f"and {hidden:,} more", style="dim"))
    return Group(*parts, counts_line(tally), *failure_lines(tally))


def counts_line(tally: Tally) -> Text:
    """`12 items: ▲ 3 fake, ◆ 1 uncertain, ...`."""
    line = Text(f"{text.count(tally.items, 'item')}, {text.count(tally.faces, 'face')}")
    for position, name in enumerate(name for name in OUTCOMES if tally.outcomes[name]):
        line.append(": " if position == 0 else ", ")
        line.append(f"{text.SIGNS[name]} {tally.outcomes[name]:,} {name}", text.STYLES[name])
    return line


def failure_lines(tally: Tally) -> list[Text]:
    """`failed by code: truncated 2, empty_file 1`, or nothing."""
    if not tally.failures:
        return []
    codes = ", ".join(f"{code} {number:,}" for code, number in tally.failures.most_common())
    return [Text(f"failed by code: {codes}", style=text.STYLES[FAILED])]


def item(document: Document) -> RenderableType:
    """Everything about one item: facts, people, frames."""
    parts: list[RenderableType] = [_facts(document)]
    if document["tracks"]:
        parts.append(_tracks(document))
    if document["frames"]:
        parts.append(_frames(document))
    return Group(*parts)


def _facts(document: Document) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for label, value in _fact_rows(document):
        grid.add_row(label, value)
    return grid


def _fact_rows(document: Document) -> Iterable[tuple[str, RenderableType]]:
    media, error = document["media"] or {}, document["error"]
    yield "item", Text(text.printable(document["uri"]))
    verdict = text.outcome_text(outcome(document))
    if document["score"] is not None:
        verdict.append(f"  {text.score_text(document['score'])} {text.bar(document['score'])}")
    yield "verdict", verdict
    yield "why", Text(text.printable(why(document)))
    if error:
        yield "code", str(error["code"])
    yield "model", str(document["model"] or "–")
    if media.get("width"):
        yield "picture", f"{media['width']} x {media['height']}, {media.get('format') or '–'}"
    if media.get("duration_s") is not None:
        yield "duration", text.seconds(media["duration_s"])
    if media.get("bytes") is not None:
        yield "size", text.size(media["bytes"])
    if media.get("sha256"):
        yield "sha256", str(media["sha256"])
    spent = document.get("timings_ms") or {}
    if spent:
        yield "took", ", ".join(f"{stage} {ms:,.0f} ms" for stage, ms in spent.items())


def _tracks(document: Document) -> Table:
    table = _table("person", "score", "", "frames", title="People")
    top = top_track(document)
    for track in document["tracks"]:
        style = "bold" if track["track"] == top else ""
        table.add_row(
            f"track {track['track']}",
            text.score_text(track["score"]),
            text.bar(track["score"], 20),
            str(track["frames"]),
            style=style,
        )
    return table


def _frames(document: Document) -> Table:
    tracks = list(track_series(document))
    table = _table("frame", "time", *(f"track {track}" for track in tracks), title="Frames")
    for frame in document["frames"]:
        scores = {face["track"]: face["score"] for face in frame["faces"]}
        cells = [
            f"{scores[track]:.2f} {text.bar(scores[track])}" if track in scores else "–"
            for track in tracks
        ]
        table.add_row(str(frame["index"]), text.seconds(frame["pts_s"]), *cells)
    return table


def _table(*headers: str, title: str | None) -> Table:
    table = text.table(title=title, title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
