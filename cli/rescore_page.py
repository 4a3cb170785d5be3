"""The page of what flipped, with small pictures of the kept faces: one file, no connection."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice

import jinja2
import numpy as np
from PIL import Image

from cli import text
from cli.outputs import replacing
from cli.thumbnails import encode
from core.errors import ObjectChanged, ObjectMissing
from core.objects import Storage
from core.settings import Settings
from db import crops
from db.crops import KeptCrop
from db.rescoring import Flip, Word
from db.session import Database

#: Items of the page, and faces of one item.
ITEMS, FACES = 500, 8
#: Longer side of a picture, pixels.
_FACE_PX = 128


@dataclass(frozen=True, kw_only=True)
class Face:
    """One picture."""

    #: data: URI.
    uri: str
    width: int
    height: int
    track: int
    #: `1.5 s`.
    at: str
    #: By the verdict that it was kept for.
    score: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One item."""

    item_id: int
    uri: str
    before: str
    after: str
    reason: str
    faces: tuple[Face, ...]


def write(
    target: str,
    database: Database,
    settings: Settings,
    model: str,
    since: datetime,
    flips: Iterable[Flip],
) -> None:
    """Write the page: the first ITEMS flips, one after the other in memory."""
    storage = Storage(settings)
    context = {
        "model": model,
        "since": _moment(since),
        "written": _moment(datetime.now(UTC)),
        "most": f"{ITEMS:,}",
        "rows": _rows(database, storage, islice(flips, ITEMS)),
    }
    with replacing(target) as stream:
        for piece in _template().generate(context):
            stream.write(piece)


def _rows(database: Database, storage: Storage, flips: Iterable[Flip]) -> Iterator[Row]:
    for flip in flips:
        with database.transaction() as session:
            kept = crops.of_item(session, flip.item_id)
        yield Row(
            item_id=flip.item_id,
            uri=text.place(flip.uri),
            before=_said(flip.before),
            after=_said(flip.after),
            reason=text.printable(flip.reason),
            faces=tuple(_faces(storage, kept[:FACES])),
        )


def _faces(storage: Storage, kept: Iterable[KeptCrop]) -> Iterator[Face]:
    for crop in kept:
        try:
            data = crops.read(storage, crop)
        except (ObjectMissing, ObjectChanged):
            continue
        with Image.open(io.BytesIO(data)) as image:
            picture = encode(np.asarray(image.convert("RGB")), _FACE_PX)
        yield Face(
            uri=picture.uri,
            width=picture.width,
            height=picture.height,
            track=crop.track,
            at=f"{crop.pts_s:.1f} s",
            score=f"{crop.score:.2f}",
        )


def _said(word: Word) -> str:
    return str(word.verdict) if word.score is None else f"{word.verdict} {word.score:.2f}"


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _template() -> jinja2.Template:
    source = files("cli").joinpath("templates", "rescore.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"page": source}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page")
