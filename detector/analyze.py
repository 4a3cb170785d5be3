"""Many items to judgements: the steps in reading order.

    sources -> decode (threads, each with a decoder helper) -> frames of many items
            -> one detection batch -> crops -> one classification batch -> tracks -> judgements

Frames of different items share batches, because one item rarely fills one. Finding faces and
scoring them may go on beside each other and beside everything else, each in a lane of its own.
What waits between the stages is bounded, so memory does not grow with the number of items, and an
item that fails to decode fails alone. A frame that looks the same as one beside it shares that
one's faces and scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import DeepsweepError
from core.vocabulary import MediaKind, Verdict
from detector import views
from detector.batches import Gathering, Here, Lane, Underway
from detector.decode import LINGER_S, Broken, Decoded, Ended, Event, Opened, Paused
from detector.faces import Face, FaceFinder
from detector.frames import Frame, Pixels
from detector.keeping import CutFace, Keeper
from detector.media import MediaInfo
from detector.repeats import Seen
from detector.score import Scorer
from detector.tracks import Tracker
from detector.verdict import Judgement, RawFrame, judge

#: Detection goes ahead when the frames that wait for it hold this many bytes, full batch or not:
#: sixteen frames of a large photo would not fit beside each other.
MAX_WAITING_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds spent on one item; shared batches are divided by frames and by faces."""

    fetch: float = 0.0
    decode: float = 0.0
    detect: float = 0.0
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A judged item."""

    key: Hashable
    info: MediaInfo
    judgement: Judgement
    timings_ms: Timings
    #: Faces worth keeping, with their pictures; empty unless they were asked for.
    faces: tuple[CutFace, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item that could not be judged."""

    key: Hashable
    error: DeepsweepError
    timings_ms: Timings


@dataclass(kw_only=True)
class _Pending:
    """An item on its way: what is known so far."""

    info: MediaInfo
    tracker: Tracker = field(default_factory=Tracker)
    #: Where faces of it are to be kept.
    keeper: Keeper | None = None
    frames: dict[int, _PendingFrame] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    repeats: list[_Repeat] = field(default_factory=list)
    #: Asks whether the frames so far are enough.
    question: Paused | None = None
    #: Frames that wait for detection plus faces that wait for their logit.
    waiting: int = 0
    ended: Ended | None = None
    detect_s: float = 0.0
    score_s: float = 0.0


@dataclass(kw_only=True)
class _PendingFrame:
    index: int
    pts_s: float
    faces: tuple[Face, ...]
    tracks: tuple[int, ...]
    logits: list[float]


@dataclass(frozen=True, kw_only=True)
class _Repeat:
    """A frame that looks the same as one that is looked at."""

    index: int
    pts_s: float
    same_as: int


@dataclass(frozen=True, kw_only=True)
class _PendingFace:
    key: Hashable
    frame: _PendingFrame
    position: int
    #: (views, size, size, 3).
    pixels: Pixels


#: Of a batch of faces, and the share of the time that each of them took.
_Logits = tuple[list[float], float]


@dataclass(frozen=True, kw_only=True)
class _PendingImage:
    key: Hashable
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class _FacesOf:
    """What was found in one frame, each face with its views for the network."""

    faces: tuple[Face, ...]
    views: list[Pixels]
    #: This frame's share of the time.
    share_s: float


class Analyzer:
    """Holds the batches between the stages. For one thread; decoding runs beside it."""

    def __init__(
        self,
        finder: FaceFinder,
        scorer: Scorer,
        *,
        frame_batch: int,
        face_batch: int,
        faces_kept: Callable[[Hashable], int] = lambda _: 0,
        patience_s: Callable[[Hashable], float] = lambda _: LINGER_S,
        find_in: Lane | None = None,
        score_in: Lane | None = None,
    ) -> None:
        """`face_batch` crops make a batch, whatever number of them a face is scored from.

        `faces_kept` says how many faces of an item are cut for keeping, at most; 0 for none.
        `patience_s` says how long an item may wait in each batch for company, and `find_in` and
        `score_in` where the networks work: here, unless it is said.
        """
        self._faces_kept = faces_kept
        self._finder = finder
        self._scorer = scorer
        self._patience_s = patience_s
        self._items: dict[Hashable, _Pending] = {}
        #: Items that something happened to since they were last looked at.
        self._touched: dict[Hashable, None] = {}
        self._images: Gathering[_PendingImage] = Gathering(frame_batch)
        self._image_bytes = 0
        self._finding: Underway[_PendingImage, list[_FacesOf]] = Underway(find_in or Here())
        #: Faces whose views make a full batch of crops.
        self._faces: Gathering[_PendingFace] = Gathering(
            views.faces_in(face_batch, scorer.card.input)
        )
        self._scoring: Underway[_PendingFace, _Logits] = Underway(score_in or Here())

    def run(self, events: Iterable[Event | None]) -> Iterator[Analysis | Failure]:
        """Judge what the decoders deliver; each item once, in the order they become complete.

        None among the events says that no decoder has anything at hand: half-full batches go
        ahead then, so that a lone item is not kept waiting for company.
        """
        for event in events:
            yield from self.feed(event)
        yield from self.feed(None)

    def feed(self, event: Event | None) -> Iterator[Analysis | Failure]:
        """What becomes complete by one more event; None sends half-full batches ahead."""
        yield from self._take(event)
        now = time.monotonic()
        hurry = event is None or self._images.is_due(now) or self._images_fill_memory()
        self._find(everything=hurry)
        self._keep_found(wait=hurry)
        hurry = event is None or self._faces.is_due(now)
        self._score(everything=hurry)
        self._keep_scores(wait=hurry)
        yield from self._complete()

    def _take(self, event: Event | None) -> Iterator[Failure]:
        match event:
            case Opened():
                self._items[event.key] = self._opened(event)
            case Decoded():
                self._take_frame(event.key, event.frame)
            case Paused():
                event.taken = True
                self._items[event.key].question = event
                self._touched[event.key] = None
                # Its decoder waits: bulk or not, there is no time for company.
                self._images.hurry(time.monotonic() + LINGER_S)
                self._faces.hurry(time.monotonic() + LINGER_S)
            case Ended():
                self._items[event.key].ended = event
                self._touched[event.key] = None
            case Broken():
                self._drop(event.key)
                timings = Timings(fetch=event.fetch_s * 1e3, decode=event.decode_s * 1e3)
                yield Failure(key=event.key, error=event.error, timings_ms=timings)

    def _opened(self, event: Opened) -> _Pending:
        kept = self._faces_kept(event.key)
        keeper = Keeper(kept, self._scorer.card.input) if kept else None
        return _Pending(info=event.info, keeper=keeper)

    def _take_frame(self, key: Hashable, frame: Frame) -> None:
        item = self._items[key]
        # A picture is one frame: nothing to hold it against.
        is_film = item.info.kind is MediaKind.VIDEO
        original = item.seen.original_of(frame.index, frame.image) if is_film else None
        if original is None:
            item.waiting += 1
            until = time.monotonic() + self._patience_s(key)
            self._images.add(_PendingImage(key=key, frame=frame), until)
            self._image_bytes += frame.image.nbytes
        else:
            repeat = _Repeat(index=frame.index, pts_s=frame.pts_s, same_as=original)
            item.repeats.append(repeat)

    def _drop(self, key: Hashable) -> None:
        """Forget what a failed item has left in the batches; what is in a lane finds it gone."""
        self._items.pop(key, None)
        self._images.keep(lambda image: image.key != key)
        self._image_bytes = sum(image.frame.image.nbytes for image in self._images)
        self._faces.keep(lambda face: face.key != key)

    def _images_fill_memory(self) -> bool:
        return self._image_bytes >= MAX_WAITING_BYTES

    # --- finding faces ---

    def _find(self, *, everything: bool) -> None:
        for batch in self._images.take(everything=everything):
            if self._finding.is_full:
                self._keep_all(self._finding.collect_one())
            self._image_bytes -= sum(image.frame.image.nbytes for image in batch)
            self._finding.give(batch, self._found)

    def _found(self, batch: list[_PendingImage]) -> list[_FacesOf]:
        """In the lane: the faces of each frame, with their views."""
        started = time.perf_counter()
        images = [pending.frame.image for pending in batch]
        spec = self._scorer.card.input
        found = self._finder.find(images)
        share_s = (time.perf_counter() - started) / len(batch)
        return [
            _FacesOf(
                faces=faces,
                views=[views.cut(image, face.box, spec) for face in faces],
                share_s=share_s,
            )
            for image, faces in zip(images, found, strict=True)
        ]

    def _keep_found(self, *, wait: bool) -> None:
        self._keep_all(self._finding.collect(wait=wait))

    def _keep_all(self, batches: Iterable[tuple[list[_PendingImage], list[_FacesOf]]]) -> None:
        for batch, found in batches:
            for image, faces in zip(batch, found, strict=True):
                if image.key in self._items:
                    self._keep_faces(image.key, image.frame, faces)

    def _keep_faces(self, key: Hashable, frame: Frame, found: _FacesOf) -> None:
        """Keep the views and let go of the frame: full frames are what memory is short of."""
        item, faces = self._items[key], found.faces
        item.detect_s += found.share_s
        self._touched[key] = None
        kept = _PendingFrame(
            index=frame.index,
            pts_s=frame.pts_s,
            faces=faces,
            tracks=item.tracker.add(frame.image, faces, frame.index),
            logits=[float("nan")] * len(faces),
        )
        if item.keeper is not None:
            item.keeper.cut(frame, faces, kept.tracks)
        item.frames[frame.index] = kept
        item.waiting += len(faces) - 1
        # Who waits for an answer to a question has been hurried already.
        patience_s = LINGER_S if item.question else self._patience_s(key)
        until = time.monotonic() + patience_s
        for position, pixels in enumerate(found.views):
            face = _PendingFace(key=key, frame=kept, position=position, pixels=pixels)
            self._faces.add(face, until)

    # --- scoring them ---

    def _score(self, *, everything: bool) -> None:
        for batch in self._faces.take(everything=everything):
            if self._scoring.is_full:
                self._keep_logits(self._scoring.collect_one())
            self._scoring.give(batch, self._scored)

    def _scored(self, batch: list[_PendingFace]) -> _Logits:
        """In the lane: the logit of each face, and its share of the time."""
        started = time.perf_counter()
        logits = self._scorer.score_faces(np.stack([pending.pixels for pending in batch]))
        return logits.tolist(), (time.perf_counter() - started) / len(batch)

    def _keep_scores(self, *, wait: bool) -> None:
        self._keep_logits(self._scoring.collect(wait=wait))

    def _keep_logits(self, batches: Iterable[tuple[list[_PendingFace], _Logits]]) -> None:
        for batch, (logits, share_s) in batches:
            for pending, logit in zip(batch, logits, strict=True):
                if pending.key in self._items:
                    self._keep_logit(pending, logit, share_s)

    def _keep_logit(self, pending: _PendingFace, logit: float, share_s: float) -> None:
        pending.frame.logits[pending.position] = logit
        item = self._items[pending.key]
        if item.keeper is not None:
            item.keeper.score(pending.frame.index, pending.position, logit)
        item.waiting -= 1
        item.score_s += share_s
        self._touched[pending.key] = None

    # --- what is complete ---

    def _complete(self) -> Iterator[Analysis]:
        touched, self._touched = self._touched, {}
        for key in touched:
            item = self._items.get(key)
            if item is None or item.waiting:
                continue
            if item.question is not None:
                item.question.answer(enough=is_certain(self._judge(item)))
                item.question = None
            if item.ended:
                yield self._finish(key, self._items.pop(key))

    def _finish(self, key: Hashable, item: _Pending) -> Analysis:
        if item.ended is None:
            raise AssertionError("only an item whose last frame has come is finished")
        return Analysis(
            key=key,
            info=item.info,
            judgement=self._judge(item),
            timings_ms=Timings(
                fetch=item.ended.fetch_s * 1e3,
                decode=item.ended.decode_s * 1e3,
                detect=item.detect_s * 1e3,
                score=item.score_s * 1e3,
            ),
            faces=item.keeper.chosen() if item.keeper else (),
        )

    def _judge(self, item: _Pending) -> Judgement:
        frames = [_raw(frame) for frame in item.frames.values()]
        frames += [_shared(repeat, item.frames[repeat.same_as]) for repeat in item.repeats]
        frames.sort(key=lambda frame: frame.index)
        return judge(item.info.kind, frames, self._scorer.card)


def is_certain(judgement: Judgement) -> bool:
    """Whether more frames are not needed. Where no face was found, there may be one later."""
    return judgement.verdict in (Verdict.FAKE, Verdict.REAL)


def _raw(frame: _PendingFrame) -> RawFrame:
    return RawFrame(
        index=frame.index,
        pts_s=frame.pts_s,
        faces=frame.faces,
        logits=tuple(frame.logits),
        tracks=frame.tracks,
    )


def _shared(repeat: _Repeat, original: _PendingFrame) -> RawFrame:
    """The original's faces and logits, at the place of its repeat."""
    return replace(_raw(original), index=repeat.index, pts_s=repeat.pts_s, same_as=repeat.same_as)
