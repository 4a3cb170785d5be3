"""A queue with real pictures behind it: objects on an S3 server, rows as a worker writes them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import numpy as np
from PIL import Image, ImageDraw
from sqlalchemy.orm import Session

from core.vocabulary import MediaKind, Verdict
from db import models, scans, verdicts
from db.session import Database
from detector.spec import Card
from tests.integration import db_rows as rows
from tests.integration.s3_fixtures import S3Server
from tests.unit.cards import card

WIDTH, HEIGHT = 320, 240
#: Frames of a clip, and how many a second.
FRAMES, FPS = 8, 4
_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person of an item: scores by frame, and where the face stands."""

    scores: Sequence[float]
    left: float = 60.0


@dataclass(kw_only=True)
class Seeds:
    """Makes items that wait for a reviewer."""

    database: Database
    s3: S3Server
    bucket: str
    #: Of the model that judged.
    card: Card = field(default_factory=card)
    made: list[int] = field(default_factory=list)

    def pictures(self, *names: str, score: float = 0.5, **options: object) -> list[int]:
        """Pictures of one person each, uncertain and so in the queue; ids of their items."""
        return [self.item(name, [Person(scores=[score])], **options) for name in names]

    def item(
        self,
        name: str,
        people: Sequence[Person],
        *,
        film: bool = False,
        written: str | None = None,
        blur: bool = False,
        reason: str = "the score lies between the thresholds",
    ) -> int:
        """One item with these people; `written` is the format's name where it is to be another."""
        content = film_bytes() if film else picture(next(_numbers), people)
        self.s3.client.put_object(Bucket=self.bucket, Key=name, Body=content)
        count = len(people[0].scores) if people else 1
        frames = [_frame(people, index) for index in range(count)]
        highest = max((max(person.scores) for person in people), default=None)
        result = verdicts.NewResult(
            media=rows.some_media(
                content,
                kind=MediaKind.VIDEO if film else MediaKind.IMAGE,
                format=written or ("mp4" if film else "png"),
                width=WIDTH,
                height=HEIGHT,
                duration_s=FRAMES / FPS if film else None,
            ),
            verdict=Verdict.NO_FACE if highest is None else Verdict.UNCERTAIN,
            score=highest,
            reason=reason,
            frames=tuple(frames),
            tracks=tuple(
                verdicts.NewTrack(track=n, score=max(person.scores), frames=count)
                for n, person in enumerate(people)
            ),
            timings_ms=rows.TIMINGS,
        )
        with self.database.transaction() as session:
            self.made.append(self._judged(session, f"s3://{self.bucket}/{name}", result, blur))
        return self.made[-1]

    def _judged(self, session: Session, uri: str, result: verdicts.NewResult, blur: bool) -> int:
        written = self.card.model_dump(mode="json")
        sha256 = bytes.fromhex(written["weights_sha256"])
        model_id = models.register(session, written, uri="file:///models/0", sha256=sha256)
        request = rows.a_request(session, uri, model_version_id=model_id, blur=blur)
        scan, _ = scans.create_or_resume(session, request, fresh=True)
        scans.add_items(session, scan.id, [rows.an_object(uri, etag=None, size=None)])
        scans.finish_listing(session, scan.id)
        [claim] = rows.claim_all(session, scan.id)
        assert verdicts.record_result(session, claim, result)
        return claim.item_id


def _frame(people: Sequence[Person], index: int) -> verdicts.NewFrame:
    faces = [
        verdicts.NewFace(
            box=(person.left, 60.0, person.left + 80.0, 160.0),
            landmarks=rows.LANDMARKS,
            confidence=0.99,
            track=track,
            logit=0.0,
            score=person.scores[index],
        )
        for track, person in enumerate(people)
    ]
    highest = max((face.score for face in faces), default=None)
    return verdicts.NewFrame(index=index, pts_s=index / FPS, score=highest, faces=tuple(faces))


def picture(number: int, people: Sequence[Person]) -> bytes:
    """A drawn face for each person on a ground of its own colour, so that no bytes are equal."""
    ground = (90 + number * 37 % 120, 60 + number * 53 % 120, 70 + number * 71 % 120)
    image = Image.new("RGB", (WIDTH, HEIGHT), ground)
    pen = ImageDraw.Draw(image)
    for person in people:
        x = person.left
        pen.ellipse((x, 60, x + 80, 160), fill=(225, 185, 160))
        for eye in (x + 22, x + 52):
            pen.ellipse((eye, 95, eye + 8, 103), fill=(40, 30, 30))
        pen.arc((x + 25, 110, x + 55, 140), 20, 160, fill=(150, 60, 60), width=3)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def film_bytes() -> bytes:
    """A clip whose frames differ in colour."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            pixels = np.full((HEIGHT, WIDTH, 3), 40 + index * 25, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
