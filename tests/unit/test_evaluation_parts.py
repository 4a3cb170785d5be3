"""What an evaluation rests on: kept faces, treatments, groups, comparisons, goals."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from benchmarks import goals, results
from core.errors import UsageError
from core.vocabulary import DEFAULT_PLAN, MediaKind, SamplingPlan
from detector.faces import FaceFinder
from detector.frames import sample
from detector.media import Limits, probe
from detector.spec import Card
from tests.unit.cards import card
from tests.unit.training_cache import medium
from training import comparison, evaluation, groups, judging
from training.evaluation import Judgements
from training.evaluation_report import Report, Trained
from training.found import Found, FoundCache, Identity
from training.judging import Judged
from training.treatments import TREATMENTS, treat

LIMITS = Limits()


def judged(path: str, *logits: float, **changes: str) -> Judged:
    kind = MediaKind.VIDEO if path.startswith("videos") else MediaKind.IMAGE
    values = np.array(logits)
    tracks = (values,) if len(logits) else ()
    frames = tuple(values[n : n + 1] for n in range(len(logits)))
    return Judged(medium=medium(path, **changes), kind=kind, tracks=tracks, frames=frames)


def of(*media: Judged, model: Card | None = None, folder: Path = Path(), **changes) -> Judgements:
    return Judgements(card=model or card(), on="dev", folder=folder, judged=media, **changes)


# --- kept faces -----------------------------------------------------------------------------------


@pytest.fixture
def media(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a").write_bytes(b"bytes of a")
    return tmp_path


@pytest.fixture
def identity() -> Identity:
    return Identity(spec=card().input, plan=DEFAULT_PLAN, treatment=None)


def found(**changes: object) -> Found:
    rng = np.random.default_rng(0)
    whole = Found(
        medium=medium("images/a"),
        kind=MediaKind.IMAGE,
        crops=rng.integers(0, 256, (3, 2, 20, 20, 3), np.uint8),
        frames=np.array([0, 0, 1]),
        tracks=np.array([0, 1, 0]),
    )
    return replace(whole, **changes)


def test_what_was_kept_comes_back_as_it_was(media: Path, identity: Identity):
    cache = FoundCache(media / "cache", identity, media)
    assert cache.load(medium("images/a")) is None
    cache.save(found())
    again = cache.load(medium("images/a", generator="relabelled"))
    assert again is not None
    assert again.medium.generator == "relabelled"
    for name in ("crops", "frames", "tracks"):
        assert np.array_equal(getattr(again, name), getattr(found(), name))


NO_FACE = {"frames": np.empty(0, int), "tracks": np.empty(0, int)}


@pytest.mark.parametrize(
    "kept",
    [
        Found.failed(medium("images/a"), "truncated"),
        found(crops=np.empty((0, 2, 20, 20, 3), np.uint8), **NO_FACE),
    ],
)
def test_having_no_face_is_kept_too(kept: Found, media: Path, identity: Identity):
    cache = FoundCache(media / "cache", identity, media)
    cache.save(kept)
    again = cache.load(kept.medium)
    assert again is not None
    assert (again.kind, again.error, len(again.crops)) == (kept.kind, kept.error, 0)


def test_other_bytes_or_another_treatment_are_found_anew(media: Path, identity: Identity):
    cache = FoundCache(media / "cache", identity, media)
    cache.save(found())
    treated = replace(identity, treatment=TREATMENTS["jpeg"])
    assert FoundCache(media / "cache", treated, media).load(medium("images/a")) is None
    (media / "images" / "a").write_bytes(b"other bytes")
    assert cache.load(medium("images/a")) is None


def test_a_kept_file_that_was_cut_short_is_found_anew(media: Path, identity: Identity):
    cache = FoundCache(media / "cache", identity, media)
    cache.save(found())
    (path,) = (media / "cache").rglob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert cache.load(medium("images/a")) is None


class Brightness:
    """A scorer whose logit is how bright a face's crops are."""

    def __init__(self) -> None:
        self.card = card()

    def score_faces(self, faces: np.ndarray) -> np.ndarray:
        return faces.mean((1, 2, 3, 4)).astype(np.float64) / 255


def test_judging_kept_faces_gives_the_same_logits(tmp_path: Path):
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "astronaut.png"), data.astronaut()[..., ::-1])
    media, finder = [medium("images/astronaut.png")], FaceFinder()
    ways = [
        list(judging.judge_media(media, tmp_path, Brightness(), finder=finder, cache=cache))
        for cache in (None, tmp_path / "cache", tmp_path / "cache")
    ]
    logits = [[track.tolist() for track in way[0].tracks] for way in ways]
    assert logits[0] == logits[1] == logits[2]
    assert len(logits[0]) == 1


# --- treatments -----------------------------------------------------------------------------------


def still() -> io.BytesIO:
    done, payload = cv2.imencode(".png", cv2.resize(data.astronaut(), (200, 150))[..., ::-1])
    assert done
    return io.BytesIO(payload.tobytes())


def film(frames: int = 12) -> io.BytesIO:
    """A short animation, by way of Pillow."""
    from PIL import Image

    pictures = [
        Image.fromarray(np.roll(cv2.resize(data.astronaut(), (96, 64)), n, 1))
        for n in range(frames)
    ]
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=100)
    return out


@pytest.mark.parametrize(
    ("name", "size"),
    [("jpeg", (195, 145)), ("webp", (200, 150)), ("half", (100, 75)), ("screenshot", (1080, 1920))],
)
def test_a_treated_still_is_a_still_that_changed(name: str, size: tuple[int, int]):
    treated = treat(still(), TREATMENTS[name], LIMITS)
    assert treated is not None
    info = probe(treated, LIMITS)
    assert (info.kind, info.width, info.height) == (MediaKind.IMAGE, *size)


@pytest.mark.parametrize("name", ["half", "screenshot", "h264"])
def test_a_treated_video_is_a_film_of_the_same_length(name: str):
    treated = treat(film(), TREATMENTS[name], LIMITS)
    assert treated is not None
    info = probe(treated, LIMITS)
    frames = list(sample(treated, info, SamplingPlan.parse("uniform:99"), LIMITS))
    assert (info.kind, info.format) == (MediaKind.VIDEO, "mp4")
    assert len(frames) == 12


def test_a_treatment_leaves_alone_what_it_does_not_apply_to():
    assert treat(still(), TREATMENTS["h264"], LIMITS) is None
    assert treat(film(), TREATMENTS["jpeg"], LIMITS) is None


def test_an_unknown_treatment_is_told():
    assert [each.name for each in evaluation.treatments(["all"])] == list(TREATMENTS)
    with pytest.raises(UsageError, match="jpeg"):
        evaluation.treatments(["sepia"])


# --- units ----------------------------------------------------------------------------------------


def test_fakes_that_show_several_people_count_as_media_alone():
    several = replace(judged("videos/fake/x", 1.0, 2.0), tracks=(np.array([1.0]), np.array([2.0])))
    media = [several, judged("videos/fake/y", 3.0), judged("videos/real/z", 0.0, 0.0)]
    counts = {
        unit: len(evaluation.sample_of(media, card(), MediaKind.VIDEO, unit).labels)
        for unit in evaluation.UNITS
    }
    assert counts == {"media": 3, "track": 2, "frame": 5}


# --- groups ---------------------------------------------------------------------------------------


def test_groups_are_read_from_columns_and_from_what_two_sets_say(tmp_path: Path):
    (tmp_path / "labels.csv").write_text(
        "path,label,age,gender,skin_tone\n"
        "images/one.jpg,real,34,Female,dark\n"
        "images/females__asian__10_1_2_20170109201545634.jpg.chip.jpg,real,,,\n"
        "images/fairface__fairface_0144.jpg,real,,,\n"
        "images/two.jpg,real,,,\n"
        "images/three.jpg,fake,34,Male,\n"
    )
    assert list(groups.read_groups(tmp_path).values()) == [
        {"age": "20-39", "gender": "female", "skin tone": "dark"},
        {"age": "10-19", "gender": "female", "skin tone": "asian"},
        {"age": "60+", "gender": "male"},
    ]


def test_rates_of_groups_and_their_ratio_to_the_average():
    media = [judged(f"images/real/a{n}", 9.0 if n < 6 else -9.0) for n in range(20)]
    media += [judged(f"images/real/b{n}", 9.0 if n < 2 else -9.0) for n in range(20)]
    media += [judged("images/real/c", 9.0), judged("images/fake/a", 9.0)]
    told = {one.medium.path: {"gender": one.medium.path[12]} for one in media}
    found = groups.rates(of(*media), told)
    assert [(r.group, r.real, r.accused) for r in found] == [("a", 20, 6), ("b", 20, 2)]
    assert found[0].ratio.value == pytest.approx(0.3 / (9 / 41))
    assert found[0].rate.low < 0.3 < found[0].rate.high
    assert groups.worst(found) == found[0]


# --- comparisons ----------------------------------------------------------------------------------


def media_of(spread: float, seed: int = 0) -> tuple[Judged, ...]:
    rng = np.random.default_rng(seed)
    return tuple(
        judged(f"images/{label}/{n}", float(sign + spread * rng.normal()))
        for label, sign in (("real", -1), ("fake", 1))
        for n in range(30)
    )


def test_a_treatment_that_blurs_the_classes_costs_auc():
    plain, treated = of(*media_of(0.5)), of(*media_of(3.0)[1:], treatment="jpeg")
    ((name, found),) = comparison.against_untreated([plain, treated])
    (pair,) = found.pairs
    assert (name, found.second) == ("test@1", "jpeg")
    assert (pair.real, pair.fake, pair.lost) == (29, 30, 0)
    assert pair.difference["auc"].high < 0


def test_the_order_in_which_media_end_moves_no_interval():
    first, other = (of(*media_of(0.7, seed)) for seed in (0, 1))
    turned = [replace(each, judged=each.judged[::-1]) for each in (first, other)]
    assert evaluation.figure_rows(turned[0]) == evaluation.figure_rows(first)
    assert comparison.compare_models(*turned) == comparison.compare_models(first, other)


def test_a_face_that_is_lost_is_counted():
    plain = of(judged("images/real/a", 0.0), judged("images/fake/b", 1.0))
    treated = of(judged("images/real/a", 0.0), judged("images/fake/b"), treatment="half")
    (pair,) = comparison.pairs(plain, treated)
    assert (pair.real, pair.fake, pair.lost) == (1, 0, 1)


def test_models_are_compared_with_the_first_on_the_same_set():
    sets = [of(*media_of(2.0)), of(*media_of(0.5), model=card(version=2))]
    (found,) = comparison.against_first(sets)
    assert (found.first, found.second) == ("test@1", "test@2")
    assert found.pairs[0].difference["auc"].low > 0


# --- goals ----------------------------------------------------------------------------------------


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Perfect on stills but for composites, blind on one kind of video."""
    (tmp_path / "labels.csv").write_text("path,label\n")
    media = [judged(f"images/real/{n}", -4.0) for n in range(20)]
    media += [judged(f"images/fake/g{n}", 4.0, kind="diffusion", generator="G") for n in range(9)]
    media += [judged(f"images/fake/p{n}", -5.0, kind="photoshop", generator="P") for n in range(9)]
    media += [judged(f"videos/real/{n}", -4.0) for n in range(20)]
    media += [judged(f"videos/fake/a{n}", 4.0, generator="A") for n in range(9)]
    media += [judged(f"videos/fake/b{n}", -4.0, generator="B") for n in range(9)]
    model = card()
    return Report(
        models=(Trained(folder=tmp_path, card=model, called="test@1"),),
        judgements=(of(*media, model=model, folder=tmp_path),),
    )


def test_goals_say_what_is_met_missed_and_not_measured(report: Report):
    found = {goal.what: goal for goal in goals.check(report)}
    assert found["Generated faces, AUC"].met is True
    assert found["Retouched and composited, AUC"].measured.value == 0
    assert found["Retouched and composited, AUC"].met is False
    assert found["Swaps and reenactment in video, AUC"].measured.value == pytest.approx(0.75)
    assert found["The worst method among them, AUC"].note.startswith("B, 9 fakes; 1 of 2")
    assert found["Recall at 5% false positives, videos"].measured.value == pytest.approx(0.5)
    groups_goal = next(goal for name, goal in found.items() if "age and gender" in name)
    assert groups_goal.met is None


def test_the_document_is_rewritten_between_its_marks_alone(report: Report, tmp_path: Path):
    whole = results.Results(
        report=report, goals=goals.check(report), methods=goals.methods(report.plain[0]),
        skin_tone=[], skin_tone_note="", served={"image": (0.9, 0.89)}, seconds=60.0,
    )  # fmt: skip
    path = tmp_path / "results.md"
    path.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.write(whole, path)
    once = path.read_text()
    results.write(whole, path)
    assert path.read_text() == once
    assert once.startswith("before\n")
    assert once.endswith(f"{results.END}\nafter\n")
    assert "old" not in once
    assert "| images | 0.9000 | 0.8900 | 0.0100 |" in once


def test_results_as_json_hold_every_goal(report: Report):
    whole = results.Results(
        report=report, goals=goals.check(report), methods=goals.methods(report.plain[0]),
        skin_tone=[], skin_tone_note="", served={}, seconds=1.0,
    )  # fmt: skip
    printed = results.document(whole)
    assert [goal["what"] for goal in printed["goals"]] == [goal.what for goal in whole.goals]
    assert printed["methods"][0]["auc"]["value"] == 0


# --- documents ------------------------------------------------------------------------------------
