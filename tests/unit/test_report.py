from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cli import report
from cli.documents import Document, Tally, worst
from cli.thumbnails import Pictures, pictures
from core.errors import ObjectMissing
from detector.frames import Frame
from tests.unit import item_documents as items
from tests.unit.cards import card

SCAN = report.Scan(
    sources=("photos/",),
    plan="uniform:16",
    model="test@1",
    scan_id="0b3b5a3e",
    remaining=0,
    version="0.1.0",
    at=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
)

#: Elements that need no end.
VOID = {"meta", "input", "img", "br", "rect", "line", "circle", "path", "polyline"}


class Page(HTMLParser):
    """Which elements there are, with attributes and text; fails where they are not well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["script"], ["style"]):
            self.text += f" {data}"

    def classed(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of a class."""
        return [each for _, each in self.elements if name in (each.get("class") or "").split()]


def grey(document: Document) -> list[Frame]:
    picture = np.full((100, 200, 3), 128, dtype=np.uint8)
    return [
        Frame(index=frame["index"], pts_s=frame["pts_s"], image=picture)
        for frame in document["frames"]
    ]


def drawn(document: Document) -> Pictures:
    return pictures(document, grey)


def gone(document: Document) -> Pictures:
    def read(document: Document) -> list[Frame]:
        raise ObjectMissing("There is no such file any more.")

    return pictures(document, read)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def write(
    target: Path,
    *documents: Document,
    limit: int = 300,
    scan: report.Scan = SCAN,
    with_card: bool = True,
    pictures_of: object = drawn,
) -> str:
    tally = Tally()
    for document in documents:
        tally.add(document)
    shown = worst(documents, limit)
    report.write(str(target), scan, tally, shown, card() if with_card else None, pictures_of)  # type: ignore[arg-type]
    return target.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_shows_every_kind_of_outcome(target: Path) -> None:
    documents = [
        items.image(),
        items.video(),
        items.judged("uncertain", 0.5, uri="s3://b/u.jpg"),
        items.judged("real", 0.1, uri="s3://b/r.jpg"),
        items.no_face(),
        items.failed("empty_file"),
    ]
    page = Page(write(target, *documents))
    rows = [each for tag, each in page.elements if tag == "tbody"]
    assert [row["data-outcome"] for row in rows] == [
        *("fake", "fake", "uncertain", "failed", "real", "no_face")
    ]
    assert "empty_file" in page.text
    assert "The file ends before its picture does." in page.text


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>.jpg",
        '"><img src=x onerror=alert(1)>.jpg',
        "x' onmouseover='alert(1).jpg",
        "{{ 7 * 7 }}.jpg",
        "</script><script>alert(1)</script>",
    ],
)
def test_a_hostile_name_becomes_text_and_never_markup(target: Path, hostile: str) -> None:
    plain = Page(write(target, items.video("s3://bucket/harmless.mp4")))
    page = Page(write(target, items.video(f"s3://bucket/{hostile}")))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert [set(each) for _, each in page.elements] == [set(each) for _, each in plain.elements]
    (row,) = [each for tag, each in page.elements if tag == "tbody"]
    assert row["data-name"] == f"s3://bucket/{hostile}"


def test_hostile_messages_sources_and_codes_become_text(target: Path) -> None:
    hostile = "<svg onload=alert(1)>"
    scan = report.Scan(**{**vars(SCAN), "sources": (hostile,), "plan": hostile, "model": hostile})
    error = {"code": hostile, "message": hostile}
    page = Page(write(target, items.failed(error=error), scan=scan))
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert page.text.count(hostile) >= 5


def test_the_page_reaches_for_nothing_outside_itself(target: Path) -> None:
    page = Page(write(target, items.image(), items.video()))
    links = [each[name] for _, each in page.elements for name in ("src", "href") if name in each]
    assert links
    assert all((link or "").startswith("data:image/webp;base64,") for link in links)
    style = target.read_text().split("<style>")[1].split("</style>")[0]
    assert "url(http" not in style
    assert "@import" not in style


def test_the_policy_allows_the_script_of_the_page_and_no_other(target: Path) -> None:
    text = write(target, items.image())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_boxes_stand_where_the_faces_are_and_carry_their_score(target: Path) -> None:
    page = Page(write(target, items.image()))
    (box,) = page.classed("box")
    assert box["style"] == "left:5.0%;top:20.0%;width:20.0%;height:40.0%"
    assert "fake" in (box["class"] or "").split()
    assert " 0.97" in page.text


def test_a_box_that_reaches_over_the_edge_is_cut_there(target: Path) -> None:
    wide = items.frame(items.face(0.9, box=(-20, -10, 300, 50)))
    (box,) = Page(write(target, items.image(frames=[wide]))).classed("box")
    assert box["style"] == "left:0.0%;top:0.0%;width:100.0%;height:50.0%"


def test_a_video_has_a_strip_a_plot_and_its_people(target: Path) -> None:
    page = Page(write(target, items.video()))
    strip = page.text.split("Sampled frames")[1]
    assert all(time in strip for time in ("0.5 s", "1.5 s", "2.5 s", "3.5 s"))
    assert len(page.classed("track")) == 2  # a line for each person; one point stands alone
    assert "track 0, 4 frames" in page.text
    assert "track 1, 3 frames" in page.text


def test_an_object_that_is_gone_leaves_a_placeholder_that_says_so(target: Path) -> None:
    page = Page(write(target, items.image(), pictures_of=gone))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "There is no such file any more." in page.text


def test_without_the_card_no_threshold_is_drawn_and_no_face_is_called_anything(
    target: Path,
) -> None:
    page = Page(write(target, items.image(), items.video(), with_card=False))
    assert page.classed("zone") == []
    assert all("unknown" in (box["class"] or "") for box in page.classed("box"))


def test_the_page_says_what_it_left_out(target: Path) -> None:
    documents = [items.judged("real", number / 100, uri=f"s3://b/{number}") for number in range(5)]
    text = Page(write(target, *documents, limit=2)).text
    assert "The table holds the 2 most suspicious of 5 items; 3 are left out" in text


def test_an_interrupted_scan_says_that_it_is_not_complete(target: Path) -> None:
    scan = report.Scan(**{**vars(SCAN), "remaining": 7})
    text = Page(write(target, items.image(), scan=scan)).text
    assert "not complete" in text
    assert "7 items are still to be judged" in text


def test_the_tiles_count_all_items_and_not_only_those_shown(target: Path) -> None:
    documents = [items.judged("real", 0.1, uri=f"s3://b/{number}") for number in range(40)]
    page = Page(write(target, *documents, limit=1))
    (tile,) = [each for each in page.classed("tile") if each["data-outcome"] == "real"]
    assert tile["aria-pressed"] == "true"
    assert " 40 " in page.text


def test_the_operating_point_is_stated_with_its_uncertainty(target: Path) -> None:
    text = Page(write(target, items.image())).text
    assert "fake from 0.80, real below 0.30; set where 1.0% of 100 real media" in text
    assert "(95% bound 3.0%)" in text


def test_names_in_the_limits_of_a_card_are_set_as_names_and_stay_text() -> None:
    shown = report._words("Expect `uncertain` <b>or `real`.")
    assert shown == "Expect <code>uncertain</code> &lt;b&gt;or <code>real</code>."


def test_an_empty_scan_has_a_page_too(target: Path) -> None:
    assert "No item here." in Page(write(target)).text
