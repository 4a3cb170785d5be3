"""A scan's results against labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import UsageError
from training.graded import grade

HEADER = "path,label,kind,generator,group,source,source_commit,licence,bytes,sha256,note\n"


def line(uri: str, *, score: float | None = None, verdict: str = "real", **more: Any) -> str:
    kind = "video" if uri.endswith(".mp4") else "image"
    document = {
        "uri": uri,
        "status": "done",
        "verdict": verdict,
        "score": score,
        "media": {"kind": kind},
    }
    return json.dumps(document | more)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [
        ("images/a/one picture.jpg", "real", "photo"),
        ("images/a/two.jpg", "fake", "stylegan"),
        ("images/b/three.jpg", "fake", "stylegan"),
        ("images/b/four.jpg", "real", "photo"),
        ("videos/five.mp4", "fake", "faceswap"),
    ]
    (folder / "labels.csv").write_text(
        HEADER
        + "".join(
            f"{path},{label},{kind},g,{path},s-{path[7]},c,l,1,x,\n" for path, label, kind in rows
        )
    )
    return folder


def results(folder: Path, *lines: str) -> Path:
    path = folder.parent / "out.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_joins_by_path_and_measures_each_medium(labelled: Path) -> None:
    found = grade(
        results(
            labelled,
            line("file:///data/set/images/a/one%20picture.jpg", score=0.1),
            line("s3://bucket/set/images/a/two.jpg", score=0.9, verdict="fake"),
            line("s3://bucket/set/images/b/three.jpg", verdict="no_face"),
            line("s3://bucket/set/images/b/four.jpg", score=0.4, verdict="uncertain"),
            line("s3://bucket/other.jpg", score=0.5),
        ),
        labelled,
    )
    whole = found.evaluations[0]
    assert (whole.medium, whole.source) == ("image", "all")
    assert (whole.real, whole.fake, whole.no_face) == (2, 1, 1)
    assert whole.figures["auc"].value == 1.0
    assert found.outcomes == {
        ("real", "real"): 1,
        ("fake", "fake"): 1,
        ("fake", "no_face"): 1,
        ("real", "uncertain"): 1,
    }
    assert found.missing == ("videos/five.mp4",)


def test_the_order_in_which_items_ended_moves_no_interval(tmp_path: Path) -> None:
    names = [f"images/a/{number:02}.jpg" for number in range(24)]
    rows = [
        f"{name},{('real', 'fake')[number % 2]},k,g,{name},s,c,l,1,x,\n"
        for number, name in enumerate(names)
    ]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "labels.csv").write_text(HEADER + "".join(rows))
    lines = [
        line(f"s3://b/{name}", score=(number * 7 % 24) / 24) for number, name in enumerate(names)
    ]
    first, turned = (
        grade(results(tmp_path / "set", *order), tmp_path / "set") for order in (lines, lines[::-1])
    )
    assert first.evaluations == turned.evaluations


def test_a_failed_item_counts_by_its_code_and_has_no_score(labelled: Path) -> None:
    failed = line(
        "file:///x/videos/five.mp4",
        status="failed",
        verdict=None,
        error={"code": "truncated", "message": "It ends early."},
    )
    found = grade(results(labelled, failed), labelled)
    assert found.outcomes == {("fake", "truncated"): 1}
    assert found.evaluations == ()


def test_results_of_other_media_are_refused(labelled: Path) -> None:
    with pytest.raises(UsageError, match="has a label"):
        grade(results(labelled, line("file:///elsewhere.jpg", score=0.5)), labelled)


def test_lines_that_are_not_json_are_named(labelled: Path) -> None:
    with pytest.raises(UsageError, match="Line 1"):
        grade(results(labelled, "not json"), labelled)
