"""The HTML report: one file that opens from disk and needs no network.

Style, script and pictures are inside. The page forbids itself every connection, and every script
but its own, by a content security policy; names and messages are escaped by the template engine.
Items are rendered one after the other, so that the pictures of one are in memory at a time.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

import jinja2
from markupsafe import Markup

from cli import plot, text
from cli.documents import OUTCOMES, Document, Tally
from cli.outputs import replacing
from cli.report_rows import WORDS, Row, row
from cli.thumbnails import Pictures
from core.vocabulary import MediaKind
from detector.spec import Card, Thresholds


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What the report says about the request itself."""

    sources: tuple[str, ...]
    plan: str
    model: str
    #: Identifier in the database.
    scan_id: str
    #: Items still to be judged; 0 when the scan is complete.
    remaining: int
    version: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Head and foot of the page."""

    title: str
    line: str
    rows: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    remaining: str
    items: int
    footer: str


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One outcome: how many items, and the button that shows only them."""

    outcome: str
    word: str
    sign: str
    number: str
    share: str
    weight: int


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How the scores of one medium are spread."""

    title: str
    plot: Markup
    caption: str


def write(
    target: str,
    scan: Scan,
    tally: Tally,
    worst: Sequence[Document],
    card: Card | None,
    pictures: Callable[[Document], Pictures],
) -> None:
    """Write the report of a scan.

    `worst` holds the items to show, most suspicious first; `tally` counts all of them. `pictures`
    is asked once for each shown item, in order. Without a card no thresholds are drawn.
    """
    script = _asset("report.js")
    context = {
        "style": Markup(_asset("report.css")),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": _sha256(script),
        "facts": _facts(scan, tally, card),
        "tiles": _tiles(tally),
        "histograms": _histograms(tally, card),
        "failures": tally.failures.most_common(),
        "left_out": _left_out(tally, worst),
        "rows": _rows(worst, card, pictures),
    }
    with replacing(target) as stream:
        for piece in _template().generate(context):
            stream.write(piece)


def _rows(
    worst: Sequence[Document], card: Card | None, pictures: Callable[[Document], Pictures]
) -> Iterator[Row]:
    for place, document in enumerate(worst):
        yield row(place, document, pictures(document), card)


def _facts(scan: Scan, tally: Tally, card: Card | None) -> Facts:
    shown = [text.printable(source) for source in scan.sources]
    title = ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
    when = scan.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    counted = f"{text.count(tally.items, 'item')}, {text.count(tally.frames, 'frame')}"
    rows = [("Model", scan.model), ("Sampling", scan.plan)]
    rows += _card_rows(card) if card else []
    rows.append(("Scan", scan.scan_id))
    return Facts(
        title=f"Scan of {title}",
        line=f"{counted}, {text.count(tally.faces, 'face')} · {when}",
        rows=tuple(rows),
        limits=card.limits if card else (),
        remaining=text.count(scan.remaining, "item") if scan.remaining else "",
        items=tally.items,
        footer=f"deepsweep {scan.version} · scan {scan.scan_id} · written {when}",
    )


def _card_rows(card: Card) -> list[tuple[str, str]]:
    rows = [("Network", f"{card.architecture}, {card.parameters / 1e6:.1f} million parameters")]
    for medium, limits in (("Images", card.operating.image), ("Videos", card.operating.video)):
        rows.append((medium, _operating(limits)))
    return rows


def _operating(limits: Thresholds) -> str:
    real = text.count(limits.real_media, "real medium", "real media")
    return (
        f"fake from {limits.fake_from:.2f}, real below {limits.real_below:.2f}; set where "
        f"{limits.false_positive_rate:.1%} of {real} "
        f"were called fake (95% bound {limits.false_positive_rate_upper:.1%})"
    )


def _tiles(tally: Tally) -> list[Tile]:
    return [
        Tile(
            outcome=str(name),
            word=WORDS[name],
            sign=text.SIGNS[name],
            number=f"{tally.outcomes[name]:,}",
            share=_percent(tally.outcomes[name], tally.items),
            weight=tally.outcomes[name],
        )
        for name in OUTCOMES
    ]


def _percent(part: int, whole: int) -> str:
    if not part or not whole:
        return ""
    share = part / whole
    return "under 1%" if share < 0.01 else f"{share:.0%}"


def _histograms(tally: Tally, card: Card | None) -> list[Histogram]:
    titles = {MediaKind.IMAGE: "Scores of images", MediaKind.VIDEO: "Scores of videos"}
    shown = []
    for medium, title in titles.items():
        counts = tally.histogram[medium]
        if not any(counts):
            continue
        limits = _limits(card, medium)
        band = (
            f"Hatched: {limits.real_below:.2f} to {limits.fake_from:.2f}, where a person decides."
            if limits
            else "The thresholds of the model are not at hand."
        )
        drawn = plot.histogram(counts, limits)
        caption = f"{sum(counts):,} scored; 0 is real, 1 is fake. {band}"
        shown.append(Histogram(title=title, plot=drawn, caption=caption))
    return shown


def _limits(card: Card | None, medium: MediaKind) -> Thresholds | None:
    if card is None:
        return None
    return card.operating.image if medium is MediaKind.IMAGE else card.operating.video


def _left_out(tally: Tally, worst: Sequence[Document]) -> str:
    hidden = tally.items - len(worst)
    if hidden <= 0:
        return ""
    return (
        f"The table holds the {len(worst):,} most suspicious of {tally.items:,} items; "
        f"{hidden:,} are left out here and stand in the JSON and CSV files. "
        "The counts above are of all items. --html-items shows more."
    )


def _words(sentence: str) -> Markup:
    """A card's sentence, with what it names in backticks set as a name."""
    forms = (Markup("{}"), Markup("<code>{}</code>"))
    parts = enumerate(sentence.split("`"))
    return Markup("").join(forms[place % 2].format(part) for place, part in parts)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"report": _asset("report.html.j2")}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _words
    return environment.get_template("report")


def _asset(name: str) -> str:
    return files("cli").joinpath("templates", name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    """The form that a content security policy wants: base64 of the digest."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
