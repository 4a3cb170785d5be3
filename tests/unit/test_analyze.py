"""Events of many items to judgements, with the real face finder and a real network."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from skimage import data

from core.errors import Truncated
from core.vocabulary import MediaKind, Verdict
from detector import architectures
from detector.analyze import Analysis, Analyzer, Failure
from detector.decode import Broken, Decoded, Ended, Event, Opened, Paused
from detector.faces import Face, FaceFinder
from detector.frames import Frame, Pixels
from detector.media import MediaInfo
from detector.score import Scorer
from tests.unit.cards import card

PORTRAIT: Pixels = data.astronaut()
WALL = np.full((240, 320, 3), 70, np.uint8)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    torch.manual_seed(3)
    return Scorer(architectures.build("che-cnn"), card())


@pytest.fixture
def analyzer(scorer: Scorer) -> Analyzer:
    return Analyzer(FaceFinder(), scorer, frame_batch=4, face_batch=3)


def opened(key: str, kind: MediaKind, picture: Pixels) -> Opened:
    height, width = picture.shape[:2]
    info = MediaInfo(
        kind=kind, format="png", width=width, height=height, duration_s=None, frame_count=None
    )
    return Opened(key=key, info=info)


def item(key: str, *pictures: Pixels) -> Iterator[Event]:
    kind = MediaKind.IMAGE if len(pictures) == 1 else MediaKind.VIDEO
    yield opened(key, kind, pictures[0])
    for index, picture in enumerate(pictures):
        yield Decoded(key=key, frame=Frame(index=index, pts_s=index / 2, image=picture))
    yield Ended(key=key, fetch_s=0.001, decode_s=0.002)


def broken(key: str) -> Broken:
    return Broken(key=key, error=Truncated("It ends early."), fetch_s=0.001, decode_s=0.0)


def test_judges_each_item_once_and_keeps_frames_and_faces_in_order(analyzer: Analyzer) -> None:
    events = [*item("a", PORTRAIT), *item("b", WALL), *item("c", PORTRAIT, WALL, PORTRAIT)]
    results = {result.key: result for result in analyzer.run(events)}
    a, b, c = (results[key] for key in "abc")
    assert isinstance(a, Analysis)
    assert isinstance(b, Analysis)
    assert isinstance(c, Analysis)
    assert b.judgement.verdict is Verdict.NO_FACE
    assert [len(frame.faces) for frame in c.judgement.frames] == [1, 0, 1]
    assert [frame.pts_s for frame in c.judgement.frames] == [0.0, 0.5, 1.0]
    assert c.judgement.tracks[0].frames == 2
    assert c.judgement.frames[0].score == pytest.approx(a.judgement.frames[0].score)


def test_items_whose_frames_come_mixed_get_the_scores_they_get_alone(scorer: Scorer) -> None:
    streams = [item(key, PORTRAIT, PORTRAIT[:, ::-1].copy()) for key in "ab"]
    mixed = [event for pair in zip(*streams, strict=True) for event in pair]
    together = Analyzer(FaceFinder(), scorer, frame_batch=3, face_batch=2).run(mixed)
    (alone,) = Analyzer(FaceFinder(), scorer, frame_batch=1, face_batch=1).run(
        item("a", PORTRAIT, PORTRAIT[:, ::-1].copy())
    )
    assert isinstance(alone, Analysis)
    for result in together:
        assert isinstance(result, Analysis)
        assert result.judgement.score == pytest.approx(alone.judgement.score, abs=1e-4)


def test_an_item_that_breaks_fails_alone(analyzer: Analyzer) -> None:
    a, b = list(item("a", PORTRAIT, PORTRAIT)), list(item("b", PORTRAIT))
    results = list(analyzer.run([*a[:2], *b, broken("a"), broken("never opened")]))
    failed = {result.key: result for result in results if isinstance(result, Failure)}
    assert set(failed) == {"a", "never opened"}
    assert failed["a"].error.code == "truncated"
    assert [result.key for result in results if isinstance(result, Analysis)] == ["b"]


def test_a_lull_sends_half_full_batches_ahead(analyzer: Analyzer) -> None:
    results = analyzer.run(iter([*item("a", PORTRAIT), None, *item("b", WALL)]))
    assert next(results).key == "a"


def test_a_picture_that_fills_memory_goes_ahead_alone(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.analyze.MAX_WAITING_BYTES", PORTRAIT.nbytes)
    events = [*item("a", PORTRAIT), *item("b", WALL)]
    taken: list[str] = []

    def note() -> Iterator[Event]:
        for event in events:
            taken.append(event.key)  # type: ignore[arg-type]
            yield event

    assert next(analyzer.run(note())).key in ("a", "b")
    assert all(result.key in ("a", "b") for result in analyzer.run([]))


def test_timings_are_given_in_milliseconds(analyzer: Analyzer) -> None:
    (result,) = analyzer.run(item("a", PORTRAIT))
    assert (result.timings_ms.fetch, result.timings_ms.decode) == (1.0, 2.0)
    assert result.timings_ms.detect > 0
    assert result.timings_ms.score > 0


class Counting(FaceFinder):
    """Knows how many frames it was shown."""

    shown = 0

    def find(self, images: Sequence[Pixels]) -> list[tuple[Face, ...]]:
        self.shown += len(images)
        return super().find(images)


def test_a_frame_that_looks_the_same_shares_the_scores_of_the_one_beside_it(
    scorer: Scorer,
) -> None:
    finder = Counting()
    analyzer = Analyzer(finder, scorer, frame_batch=2, face_batch=2)
    (result,) = analyzer.run(item("a", PORTRAIT, PORTRAIT, WALL, WALL, PORTRAIT))
    assert isinstance(result, Analysis)
    frames = result.judgement.frames
    assert [frame.same_as for frame in frames] == [None, 0, None, 2, None]
    assert frames[1].faces == frames[0].faces
    assert [frame.index for frame in frames] == list(range(5))
    assert finder.shown == 3
    assert result.judgement.tracks[0].frames == 3


def judging_all_as(verdict: Verdict, scorer: Scorer) -> Scorer:
    """The scorer with thresholds that make this verdict of every score."""
    edges = {Verdict.FAKE: (0.0, 0.0), Verdict.REAL: (1.0, 1.0), Verdict.UNCERTAIN: (1.0, 0.0)}
    fake_from, real_below = edges[verdict]
    limits = scorer.card.operating.video.model_copy(
        update={"fake_from": fake_from, "real_below": real_below}
    )
    operating = scorer.card.operating.model_copy(update={"video": limits})
    other = copy.copy(scorer)
    other.card = scorer.card.model_copy(update={"operating": operating})
    return other


@pytest.mark.parametrize(
    ("verdict", "picture", "enough"),
    [
        (Verdict.FAKE, PORTRAIT, True),
        (Verdict.REAL, PORTRAIT, True),
        (Verdict.UNCERTAIN, PORTRAIT, False),
        (Verdict.FAKE, WALL, False),
    ],
    ids=["fake", "real", "uncertain", "no face yet"],
)
def test_frames_are_enough_once_the_verdict_is_certain(
    verdict: Verdict, picture: Pixels, enough: bool, scorer: Scorer
) -> None:
    analyzer = Analyzer(FaceFinder(), judging_all_as(verdict, scorer), frame_batch=1, face_batch=1)
    question = Paused(key="a")
    begin, end = list(item("a", picture, picture))[:2], Ended(key="a", fetch_s=0, decode_s=0)
    for event in begin:
        assert not list(analyzer.feed(event))
    assert not list(analyzer.feed(question))
    assert question.taken
    assert question.wait(threading.Event()) is enough
    assert [result.key for result in analyzer.feed(end)] == ["a"]


def test_a_question_waits_for_the_frames_before_it(scorer: Scorer) -> None:
    analyzer = Analyzer(FaceFinder(), scorer, frame_batch=8, face_batch=8)
    question = Paused(key="a")
    for event in [*list(item("a", PORTRAIT, PORTRAIT))[:2], question]:
        assert not list(analyzer.feed(event))
    assert not question.is_answered
    assert not list(analyzer.feed(None))
    assert question.is_answered
