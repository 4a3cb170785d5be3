"""Scoring kept crops again with another model version, without touching the media.

The same cut, the same forward and the same judging as in a scan; only that the frames are those of
which a face was kept, which the reason says. Items come page by page and their pictures batch by
batch, so memory stays that of one batch.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from core.errors import ObjectChanged, ObjectMissing
from core.objects import Storage
from core.settings import Settings
from db import crops, rescoring
from db.crops import KeptCrop
from db.rescoring import NewWord, Subject
from db.session import Database
from detector import views
from detector.faces import Face, square
from detector.frames import Pixels
from detector.score import Scorer
from detector.spec import Input
from detector.verdict import Judgement, RawFrame, judge

_log = logging.getLogger(__name__)

#: Items whose rows are read at a time.
PAGE_ITEMS = 64


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """Crops that were kept for other models and do not show all that this one looks at."""

    #: With less room around the face than its widest view: repeated at the edge.
    narrow: int = 0
    #: Reduced so far that its narrowest view has fewer pixels than the network is shown.
    coarse: int = 0

    def __add__(self, other: Lacking) -> Lacking:
        return Lacking(narrow=self.narrow + other.narrow, coarse=self.coarse + other.coarse)


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """What one run did."""

    #: Items that got a word.
    items: int
    #: Crops that were scored.
    crops: int
    #: Crops whose picture was gone or replaced; and items of which none was left.
    lost_crops: int
    lost_items: int
    lacking: Lacking
    interrupted: bool


@dataclass(kw_only=True)
class Rescorer:
    """Scores what was kept since a moment."""

    database: Database
    settings: Settings
    storage: Storage
    scorer: Scorer
    model_version_id: int
    since: datetime
    #: Told after each item.
    on_item: Callable[[], None] = lambda: None

    def waiting(self) -> int:
        """How many items are to be done."""
        with self.database.transaction() as session:
            return rescoring.waiting(session, self.model_version_id, self.since)

    def run(self, stop: threading.Event | None = None) -> Rescored:
        """Go through all that waits, or until `stop` is set. What is written stays written.

        Raises what storage raises for all crops alike, and the errors of the database.
        """
        stop = stop or threading.Event()
        items = scored = lost = lost_items = 0
        lacking = Lacking()
        with ThreadPoolExecutor(max(2, self.settings.decode_workers)) as pool:
            for subject in self._subjects(stop):
                logits, seconds = self._logits(subject, pool)
                lost += len(subject.crops) - len(logits)
                scored += len(logits)
                lacking += self._lacking([one for one, _ in logits])
                if logits:
                    items += self._record(subject, logits, seconds)
                else:
                    lost_items += 1
                self.on_item()
        return Rescored(
            items=items,
            crops=scored,
            lost_crops=lost,
            lost_items=lost_items,
            lacking=lacking,
            interrupted=stop.is_set(),
        )

    # --- helpers ---

    def _subjects(self, stop: threading.Event) -> Iterator[Subject]:
        after: int | None = 0
        while after is not None:
            with self.database.transaction() as session:
                page, after = rescoring.subjects(
                    session, self.model_version_id, self.since, after=after, limit=PAGE_ITEMS
                )
            for subject in page:
                if stop.is_set():
                    return
                yield subject

    def _logits(
        self, subject: Subject, pool: ThreadPoolExecutor
    ) -> tuple[list[tuple[KeptCrop, float]], float]:
        """The crops that could be read with their logits, in their order; seconds of scoring."""
        found: list[tuple[KeptCrop, float]] = []
        seconds, size = 0.0, views.faces_in(self.settings.face_batch, self.scorer.card.input)
        for start in range(0, len(subject.crops), size):
            part = subject.crops[start : start + size]
            cut = [
                (one, pixels)
                for one, pixels in zip(part, pool.map(self._cut, part), strict=True)
                if pixels is not None
            ]
            if not cut:
                continue
            started = time.perf_counter()
            logits = self.scorer.score_faces(np.stack([pixels for _, pixels in cut]))
            seconds += time.perf_counter() - started
            found += [(one, float(z)) for (one, _), z in zip(cut, logits, strict=True)]
        return found, seconds

    def _cut(self, kept: KeptCrop) -> Pixels | None:
        """The views of a kept face; None where its picture is not what was kept."""
        try:
            data = crops.read(self.storage, kept)
        except (ObjectMissing, ObjectChanged) as error:
            _log.warning("crop_lost", extra={"crop_id": kept.id, "code": error.code})
            return None
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            _log.warning("crop_lost", extra={"crop_id": kept.id, "code": "undecodable"})
            return None
        image = np.ascontiguousarray(picture[..., ::-1], dtype=np.uint8)
        return views.cut(image, kept.box, self.scorer.card.input)

    def _lacking(self, kept: Sequence[KeptCrop]) -> Lacking:
        spec = self.scorer.card.input
        return Lacking(
            narrow=sum(is_narrow(one, spec) for one in kept),
            coarse=sum(is_coarse(one, spec) for one in kept),
        )

    def _record(
        self, subject: Subject, logits: Sequence[tuple[KeptCrop, float]], seconds: float
    ) -> bool:
        judged = judge(subject.kind, raw_frames(logits), self.scorer.card)
        word = self._word(judged, len(logits), seconds)
        with self.database.transaction() as session:
            return rescoring.record(session, subject, word)

    def _word(self, judged: Judgement, faces: int, seconds: float) -> NewWord:
        if judged.score is None:
            raise AssertionError("an item with a face has a score")
        return NewWord(
            model_version_id=self.model_version_id,
            verdict=judged.verdict,
            score=judged.score,
            reason=f"{judged.reason}; scored again, on kept crops only",
            frames=len(judged.frames),
            faces=faces,
            score_ms=seconds * 1e3,
            tracks={track.track: (track.score, track.frames) for track in judged.tracks},
        )


def is_narrow(kept: KeptCrop, spec: Input) -> bool:
    """Whether the widest view reaches beyond the kept picture."""
    return square(kept.box, views.widest(spec)).side > kept.width


def is_coarse(kept: KeptCrop, spec: Input) -> bool:
    """Whether the narrowest view was cut finer from the frame than it can be from the picture."""
    _, _, side = kept.area
    seen = square(kept.box, views.narrowest(spec)).side
    return kept.width < side and seen < spec.size_px


def raw_frames(logits: Sequence[tuple[KeptCrop, float]]) -> list[RawFrame]:
    """The frames of which faces were kept, as a scan would have them."""
    of_frame: dict[int, list[tuple[KeptCrop, float]]] = defaultdict(list)
    for kept, logit in logits:
        of_frame[kept.frame_index].append((kept, logit))
    return [
        RawFrame(
            index=index,
            pts_s=faces[0][0].pts_s,
            faces=tuple(_face(kept) for kept, _ in faces),
            logits=tuple(logit for _, logit in faces),
            tracks=tuple(kept.track for kept, _ in faces),
        )
        for index, faces in sorted(of_frame.items())
    ]


def _face(kept: KeptCrop) -> Face:
    return Face(
        box=kept.box_in_frame,
        landmarks=np.asarray(kept.landmarks_in_frame, np.float32),
        confidence=1.0,
    )
