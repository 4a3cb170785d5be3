"""The evaluation page: plots that say what the figures say, errors in order, nothing unescaped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from core.vocabulary import MediaKind
from detector.spec import Figure
from tests.unit.cards import card
from training import evaluation_page, metrics, plots
from training.crops import Medium
from training.evaluation import Judgements
from training.evaluation_report import Report, Trained
from training.judging import Judged

NASTY = "<script>alert('x')</script>&\""


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 200)
    return labels, np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1).round(2)


def judged(name: str, logit: float | None, *, fake: bool, error: str = "") -> Judged:
    medium = Medium(
        path=f"images/{name}",
        label="fake" if fake else "real",
        kind="photo",
        generator="none",
        group=name,
        source=f"source of {NASTY}",
        licence="none",
    )
    tracks = () if logit is None else (np.array([logit]),)
    kind = None if error else MediaKind.IMAGE
    return Judged(medium=medium, kind=kind, tracks=tracks, error=error)


MEDIA = [
    judged("sure.png", 4.0, fake=True),
    judged("missed.png", -2.0, fake=True),
    judged(f"worse{NASTY}.png", -3.0, fake=True),
    judged("fine.png", -4.0, fake=False),
    judged("accused.png", 2.5, fake=False),
    judged("wall.png", None, fake=False),
    judged("broken.png", None, fake=False, error="truncated"),
]


def report(folder: Path, media: list[Judged], **changes: object) -> Report:
    """Of one model on one set; `changes` are to the card."""
    model = card(**changes)
    one = Judgements(card=model, on="dev", folder=folder, judged=tuple(media))
    return Report(
        models=(Trained(folder=folder, card=model, called=model.reference),), judgements=(one,)
    )


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A set without attributes of people."""
    (tmp_path / "labels.csv").write_text("path,label\n")
    return tmp_path


@pytest.fixture
def page(labelled: Path) -> str:
    return evaluation_page.render(report(labelled, MEDIA))


def test_the_area_under_the_drawn_curve_is_the_auc(scored: tuple) -> None:
    points = np.array(plots.roc_points(*scored))
    area = np.trapezoid(points[:, 1], points[:, 0])
    assert tuple(points[0]) == (0, 0)
    assert tuple(points[-1]) == (1, 1)
    assert area == pytest.approx(metrics.auc(*scored))


def test_the_reliability_bins_give_the_calibration_error(scored: tuple) -> None:
    bins = plots.reliability_bins(*scored)
    error = sum(number * abs(mean - share) for mean, share, number in bins) / len(scored[0])
    assert sum(number for _, _, number in bins) == 200
    assert error == pytest.approx(metrics.calibration_error(*scored))


def test_a_curve_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="reals and fakes"):
        plots.roc_points(np.array([1, 1]), np.array([0.2, 0.4]))


def test_every_score_is_in_a_bar(scored: tuple) -> None:
    drawn = plots.histogram(*scored, (0.2, 0.8))
    titles = [title.text or "" for title in ElementTree.fromstring(drawn).iter("title")]
    for label, name in ((1, "fake"), (0, "real")):
        counted = sum(int(title.split()[0]) for title in titles if f" {name} " in title)
        assert counted == int((scored[0] == label).sum())


def test_plots_are_well_formed(scored: tuple) -> None:
    for drawn in (plots.roc(*scored), plots.reliability(*scored)):
        assert ElementTree.fromstring(drawn).tag == "svg"


def test_a_confusion_table_gives_numbers_and_shares() -> None:
    table = plots.confusion({("real", "real"): 3, ("real", NASTY): 1}, ["real", NASTY])
    assert "3 <small>75%</small>" in table
    assert "1 <small>25%</small>" in table
    assert NASTY not in table


def test_the_page_counts_every_outcome(page: str) -> None:
    rows = re.findall(r"<tr><th>(real|fake)</th>(.*?)</tr>", page)
    counts = {label: re.findall(r">(\d+) <small>", cells) for label, cells in rows}
    # In the order fake, real, uncertain, no_face, failed.
    assert counts == {"real": ["1", "1", "0", "1", "1"], "fake": ["1", "2", "0", "0", "0"]}


def test_the_worst_errors_come_first_and_apart(page: str) -> None:
    missed, _, accused = page.partition("Reals that score above one half")
    assert missed.index("images/worse") < missed.index("images/missed.png")
    assert "images/accused.png" in accused
    assert "fine.png" not in page
    assert "sure.png" not in page


class _Reader(HTMLParser):
    """What a browser would run, fetch, or leave open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_nothing_on_the_page_runs_or_is_fetched(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert all(link.startswith("#") for link in reader.links)
    assert "&lt;script&gt;alert" in page


def test_errors_are_shown_as_pictures_inside_the_page(labelled: Path) -> None:
    (labelled / "images").mkdir()
    cv2.imwrite(str(labelled / "images" / "missed.png"), np.full((400, 300, 3), 99, np.uint8))
    page = evaluation_page.render(report(labelled, MEDIA[1:2]))
    (picture,) = re.findall(r'<img src="(data:image/webp;base64,[^"]+)"', page)
    assert len(picture) > 100


def test_a_file_that_is_gone_has_no_picture(tmp_path: Path) -> None:
    assert evaluation_page.thumbnail_of(tmp_path / "gone.png") == ""


def test_a_forest_plot_places_each_figure_between_its_ends() -> None:
    drawn = plots.forest([(NASTY, Figure(value=0.5, low=0.25, high=0.75))], "Rates")
    (line,) = [e for e in ElementTree.fromstring(drawn).iter("line") if e.get("class") == "span"]
    (dot,) = ElementTree.fromstring(drawn).iter("circle")
    low, high = float(line.get("x1") or 0), float(line.get("x2") or 0)
    assert low < float(dot.get("cx") or 0) < high
    assert float(dot.get("cx") or 0) == pytest.approx((low + high) / 2, abs=0.1)


def test_a_training_curve_falls_when_the_loss_does() -> None:
    drawn = ElementTree.fromstring(plots.curve("loss", {"loss": [(1, 0.7), (2, 0.4), (3, 0.1)]}))
    (line,) = drawn.iter("polyline")
    heights = [float(point.split(",")[1]) for point in (line.get("points") or "").split()]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]


def test_several_models_share_one_curve_and_are_told_apart(labelled: Path) -> None:
    one, other = report(labelled, MEDIA), report(labelled, MEDIA[::-1], version=2)
    both = Report(models=one.models + other.models, judgements=one.judgements + other.judgements)
    page = evaluation_page.render(both)
    assert page.count("ROC curve</text>") == 1
    assert "test@2 - test@1" in page
    assert "+0.000\n[+0.00, +0.00]" in page


def test_the_log_of_the_training_is_drawn(labelled: Path) -> None:
    history = ({"step": 1, "loss": 0.9, "score": 0.5}, {"step": 2, "loss": 0.5, "score": 0.7})
    plain = report(labelled, MEDIA)
    trained = replace(plain.models[0], history=history)
    page = evaluation_page.render(replace(plain, models=(trained,)))
    assert page.count('class="curve"') == 2
