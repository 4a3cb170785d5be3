"""One item as the report shows it: words and numbers; the template only places them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from cli import plot, text
from cli.documents import Document, face_count, kind, outcome, why
from cli.thumbnails import PEOPLE, Pictures, Shot
from core.vocabulary import MediaKind
from detector.spec import Card, Thresholds
from detector.verdict import decide

#: What a score is coloured as when the model's thresholds are not at hand.
UNKNOWN = "unknown"

WORDS = {
    "fake": "fake",
    "uncertain": "uncertain",
    "real": "real",
    "no_face": "no face",
    "failed": "failed",
}


@dataclass(frozen=True, kw_only=True)
class BoxView:
    """A face's box in percent of the picture, with its score as text and as a zone."""

    left: float
    top: float
    width: float
    height: float
    zone: str
    label: str
    #: Whether the label goes inside, because there is no room above.
    inside: bool


@dataclass(frozen=True, kw_only=True)
class ShotView:
    """A sampled frame."""

    uri: str
    picture_width: int
    picture_height: int
    alt: str
    caption: str
    time: str
    score: str
    zone: str
    boxes: tuple[BoxView, ...]


@dataclass(frozen=True, kw_only=True)
class PersonView:
    """A track: its close-up and its score."""

    track: int
    uri: str | None
    zone: str
    sign: str
    score: str
    frames: str


@dataclass(frozen=True, kw_only=True)
class Meter:
    """Where a score lies, and where the abstaining band lies, in percent."""

    at: float
    low: float
    span: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """Everything the template places for one item."""

    #: Position by severity, from 0.
    place: int
    uri: str
    name: str
    folder: str
    outcome: str
    word: str
    sign: str
    score: str
    sort_score: float
    faces: int
    kind: str
    medium: str
    why: str
    code: str | None
    meter: Meter | None
    thumbnail: str | None
    hero: ShotView | None
    missing: str
    people: tuple[PersonView, ...]
    strip: tuple[ShotView, ...]
    strip_note: str
    plot: Markup | None
    facts: tuple[tuple[str, str], ...]


def row(place: int, document: Document, pictures: Pictures, card: Card | None) -> Row:
    """The view of one item at its place in the order of severity."""
    limits = thresholds_of(document, card)
    found = outcome(document)
    folder, name = _split(document["uri"])
    hero = _shot(document, pictures.hero, limits) if pictures.hero else None
    people = _people(document, pictures, limits)
    is_video = kind(document) is MediaKind.VIDEO
    return Row(
        place=place,
        uri=text.printable(document["uri"]),
        name=name,
        folder=folder,
        outcome=found,
        word=WORDS[found],
        sign=text.SIGNS[found],
        score=text.score_text(document["score"]),
        sort_score=-1.0 if document["score"] is None else document["score"],
        faces=face_count(document),
        kind=str(kind(document) or ""),
        medium=_medium(document),
        why=text.printable(why(document)),
        code=(document["error"] or {}).get("code"),
        meter=_meter(document["score"], limits),
        thumbnail=_thumbnail(people, hero),
        hero=hero,
        missing=text.printable(_missing(document, pictures)),
        people=people,
        strip=tuple(_shot(document, shot, limits) for shot in pictures.strip),
        strip_note=_strip_note(document, pictures),
        plot=plot.score_over_time(document, limits) if is_video and document["tracks"] else None,
        facts=tuple(_facts(document)),
    )


def thresholds_of(document: Document, card: Card | None) -> Thresholds | None:
    """The operating point that the item was judged at; None where it is not known."""
    medium = kind(document)
    if card is None or medium is None or document["model"] != card.reference:
        return None
    return card.operating.image if medium is MediaKind.IMAGE else card.operating.video


def zone(score: float | None, thresholds: Thresholds | None) -> str:
    """The look of a score: `fake`, `uncertain`, `real`, or `unknown`."""
    if score is None or thresholds is None:
        return UNKNOWN
    return str(decide(score, thresholds))


def _split(uri: str) -> tuple[str, str]:
    """Folder and name, for reading."""
    shown = text.place(uri)
    folder, slash, name = shown.rpartition("/")
    return (folder + slash, name) if name else ("", shown)


def _shot(document: Document, shot: Shot, limits: Thresholds | None) -> ShotView:
    frame = document["frames"][shot.position]
    time = text.seconds(frame["pts_s"])
    is_video = kind(document) is MediaKind.VIDEO
    where = f"Frame {frame['index']} at {time}" if is_video else "The picture"
    faces = text.count(len(frame["faces"]), "face")
    return ShotView(
        uri=shot.picture.uri,
        picture_width=shot.picture.width,
        picture_height=shot.picture.height,
        alt=f"{where}: {faces}, highest score {text.score_text(frame['score'])}",
        caption=f"{where}: {faces}. The number at a box is that face's own score.",
        time=time,
        score=text.score_text(frame["score"]),
        zone=zone(frame["score"], limits),
        boxes=tuple(_box(face, shot, limits) for face in frame["faces"]),
    )


def _box(face: Any, shot: Shot, limits: Thresholds | None) -> BoxView:
    x1, y1, x2, y2 = face["box"]
    width, height = shot.frame_width, shot.frame_height
    left, top = max(x1, 0.0), max(y1, 0.0)
    return BoxView(
        left=round(100 * left / width, 2),
        top=round(100 * top / height, 2),
        width=round(100 * (min(x2, width) - left) / width, 2),
        height=round(100 * (min(y2, height) - top) / height, 2),
        zone=zone(face["score"], limits),
        label=text.score_text(face["score"]),
        inside=top < 0.07 * height,
    )


def _people(
    document: Document, pictures: Pictures, limits: Thresholds | None
) -> tuple[PersonView, ...]:
    """The most suspicious people; one whose picture could not be read still has its score."""
    tracks = sorted(document["tracks"], key=lambda track: -track["score"])
    return tuple(_person(track, pictures, limits) for track in tracks[:PEOPLE])


def _person(track: Any, pictures: Pictures, limits: Thresholds | None) -> PersonView:
    picture = pictures.people.get(track["track"])
    look = zone(track["score"], limits)
    return PersonView(
        track=track["track"],
        uri=picture.uri if picture else None,
        zone=look,
        sign=text.SIGNS.get(look, ""),
        score=text.score_text(track["score"]),
        frames=text.count(track["frames"], "frame"),
    )


def _meter(score: float | None, limits: Thresholds | None) -> Meter | None:
    if score is None:
        return None
    low = limits.real_below if limits else 0.0
    span = limits.fake_from - limits.real_below if limits else 0.0
    return Meter(at=round(100 * score, 1), low=round(100 * low, 1), span=round(100 * span, 1))


def _thumbnail(people: tuple[PersonView, ...], hero: ShotView | None) -> str | None:
    """The most suspicious face; the whole picture where there is no face."""
    if people and people[0].uri:
        return people[0].uri
    return hero.uri if hero else None


def _medium(document: Document) -> str:
    media = document["media"] or {}
    if not media.get("width"):
        return ""
    shape = f"{media['width']} × {media['height']}"
    length = media.get("duration_s")
    return shape if length is None else f"{shape}, {text.seconds(length)}"


def _missing(document: Document, pictures: Pictures) -> str:
    if document["error"]:
        return "No picture: this item could not be judged."
    return f"No picture: {pictures.missing or 'it was not read again.'}"


def _strip_note(document: Document, pictures: Pictures) -> str:
    sampled, shown = len(document["frames"]), len(pictures.strip)
    return f"{shown} of {sampled}" if shown < sampled else str(sampled)


def _facts(document: Document) -> list[tuple[str, str]]:
    media, timings = document["media"] or {}, document.get("timings_ms") or {}
    facts = [("Item", text.printable(document["uri"]))]
    if media.get("format"):
        facts.append(("Format", str(media["format"])))
    if media.get("width"):
        facts.append(("Picture", f"{media['width']} × {media['height']}"))
    if media.get("duration_s") is not None:
        facts.append(("Duration", text.seconds(media["duration_s"])))
    if media.get("bytes") is not None:
        facts.append(("Size", text.size(media["bytes"])))
    if document["frames"]:
        frames = text.count(len(document["frames"]), "frame")
        facts.append(("Sampled", f"{frames}, {text.count(face_count(document), 'face')}"))
    if document["model"]:
        facts.append(("Model", str(document["model"])))
    if document.get("shared"):
        facts.append(("Note", "The same bytes were judged before; that result is shown."))
    if timings:
        took = ", ".join(f"{stage} {ms or 0:,.0f} ms" for stage, ms in timings.items())
        facts.append(("Took", took))
    if media.get("sha256"):
        facts.append(("SHA-256", str(media["sha256"])))
    return facts
