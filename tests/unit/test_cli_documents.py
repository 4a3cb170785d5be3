from __future__ import annotations

from cli.documents import Tally, face_count, top_track, track_series, why, worst
from core.vocabulary import MediaKind
from tests.unit import item_documents as items


def test_worst_first_is_fake_then_uncertain_then_failed_then_real_then_no_face() -> None:
    documents = [
        items.no_face(),
        items.judged("real", 0.1),
        items.failed(),
        items.judged("uncertain", 0.5),
        items.judged("fake", 0.9),
    ]
    order = [document["verdict"] for document in worst(documents, 10)]
    assert order == ["fake", "uncertain", None, "real", "no_face"]


def test_within_a_verdict_the_highest_score_comes_first_and_equal_scores_by_name() -> None:
    documents = [
        items.judged("fake", 0.9, uri="b"),
        items.judged("fake", 0.8, uri="c"),
        items.judged("fake", 0.9, uri="a"),
    ]
    assert [document["uri"] for document in worst(documents, 10)] == ["a", "b", "c"]


def test_only_the_limit_is_kept_and_it_is_the_worst_of_all() -> None:
    documents = (items.judged("real", number / 1000) for number in range(1000))
    assert [document["score"] for document in worst(documents, 3)] == [0.999, 0.998, 0.997]


def test_a_limit_of_nothing_keeps_nothing() -> None:
    assert worst([items.image()], 0) == []


def test_a_tally_counts_outcomes_faces_failures_and_scores() -> None:
    tally = Tally()
    for document in (items.image(), items.video(), items.failed("empty_file"), items.no_face()):
        tally.add(document)
    assert (tally.items, tally.faces, tally.frames) == (4, 8, 6)
    assert tally.outcomes == {"fake": 2, "failed": 1, "no_face": 1}
    assert tally.failures == {"empty_file": 1}
    assert tally.models == {"test@1": 3}
    assert sum(tally.histogram[MediaKind.IMAGE]) == 1
    assert sum(tally.histogram[MediaKind.VIDEO]) == 1


def test_a_score_of_one_falls_into_the_last_bar() -> None:
    tally = Tally()
    tally.add(items.judged("fake", 1.0))
    assert tally.histogram[MediaKind.IMAGE][-1] == 1


def test_the_series_of_a_track_leaves_out_frames_without_it() -> None:
    series = track_series(items.video())
    assert series[1] == [(0, 0.5, 0.1), (1, 1.5, 0.2), (3, 3.5, 0.15)]


def test_the_top_track_is_the_most_suspicious_person() -> None:
    assert top_track(items.video()) == 0
    assert top_track(items.no_face()) is None


def test_why_is_the_reason_or_the_error() -> None:
    assert why(items.no_face()) == "no usable face in 1 frame"
    assert why(items.failed()) == "The file ends before its picture does."


def test_faces_are_counted_over_all_frames() -> None:
    assert face_count(items.video()) == 7
