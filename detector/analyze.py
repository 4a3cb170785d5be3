"""Many items to judgements: the steps in reading order.

    sources -> decode (threads, each with a decoder helper) -> frames of many items
            -> one detection batch -> crops -> one classification batch -> tracks -> judgements

Frames of different items share batches, because one item rarely fills one. Queues between the
stages are bounded, so memory does not grow with the number of items, and an item that fails to
decode fails alone. A frame that looks the same as one beside it shares that one's faces and scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from core.errors import DeepsweepError
from core.vocabulary import MediaKind, Verdict
from detector import views
from detector.decode import Broken, Decoded, Ended, Event, Opened, Paused
from detector.faces import Face, FaceFinder
from detector.frames import Frame, Pixels
from detector.keeping import CutFace, Keeper
from detector.media import MediaInfo
from detector.repeats import Seen
from detector.score import Scorer
from detector.tracks import Tracker
from detector.verdict import Judgement, RawFrame, judge

T = TypeVar("T")

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


class Analyzer:
    """Holds the batches between the stages. Single-threaded; decoding runs beside it."""

    def __init__(
        self,
        finder: FaceFinder,
        scorer: Scorer,
        *,
        frame_batch: int,
        face_batch: int,
        faces_kept: Callable[[Hashable], int] = lambda _: 0,
    ) -> None:
        """`face_batch` crops make a batch, whatever number of them a face is scored from.

        `faces_kept` says how many faces of an item are cut for keeping, at most; 0 for none.
        """
        self._faces_kept = faces_kept
        self._finder = finder
        self._scorer = scorer
        self._frame_batch = frame_batch
        self._face_batch = views.faces_in(face_batch, scorer.card.input)
        self._items: dict[Hashable, _Pending] = {}
        self._frames: list[tuple[Hashable, Frame]] = []
        self._faces: list[_PendingFace] = []

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
        if event is None or self._frames_are_enough():
            self._detect()
        if event is None or len(self._faces) >= self._face_batch:
            self._score()
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
            case Ended():
                self._items[event.key].ended = event
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
            self._frames.append((key, frame))
        else:
            repeat = _Repeat(index=frame.index, pts_s=frame.pts_s, same_as=original)
            item.repeats.append(repeat)

    def _frames_are_enough(self) -> bool:
        waiting_bytes = sum(frame.image.nbytes for _, frame in self._frames)
        return len(self._frames) >= self._frame_batch or waiting_bytes >= MAX_WAITING_BYTES

    def _drop(self, key: Hashable) -> None:
        """Forget what a failed item has left in the batches."""
        self._items.pop(key, None)
        self._frames = [(other, frame) for other, frame in self._frames if other != key]
        self._faces = [pending for pending in self._faces if pending.key != key]

    def _detect(self) -> None:
        for batch in _batches(self._frames, self._frame_batch):
            started = time.perf_counter()
            found = self._finder.find([frame.image for _, frame in batch])
            share_s = (time.perf_counter() - started) / len(batch)
            for (key, frame), faces in zip(batch, found, strict=True):
                self._keep_faces(key, frame, faces, share_s)
        self._frames = []

    def _keep_faces(
        self, key: Hashable, frame: Frame, faces: tuple[Face, ...], share_s: float
    ) -> None:
        """Cut the crops and let go of the frame: full frames are what memory is short of."""
        item = self._items[key]
        item.detect_s += share_s
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
        spec = self._scorer.card.input
        self._faces += [
            _PendingFace(
                key=key,
                frame=kept,
                position=position,
                pixels=views.cut(frame.image, face.box, spec),
            )
            for position, face in enumerate(faces)
        ]

    def _score(self) -> None:
        for batch in _batches(self._faces, self._face_batch):
            started = time.perf_counter()
            logits = self._scorer.score_faces(np.stack([pending.pixels for pending in batch]))
            share_s = (time.perf_counter() - started) / len(batch)
            for pending, logit in zip(batch, logits, strict=True):
                pending.frame.logits[pending.position] = float(logit)
                item = self._items[pending.key]
                if item.keeper is not None:
                    item.keeper.score(pending.frame.index, pending.position, float(logit))
                item.waiting -= 1
                item.score_s += share_s
        self._faces = []

    def _complete(self) -> Iterator[Analysis]:
        for item in self._items.values():
            if item.question is not None and not item.waiting:
                item.question.answer(enough=is_certain(self._judge(item)))
                item.question = None
        ready = [key for key, item in self._items.items() if item.ended and not item.waiting]
        for key in ready:
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


def _batches(waiting: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(waiting), size):
        yield waiting[start : start + size]
