"""Several crops of a face, scored together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from skimage import data
from torch import nn

from core.vocabulary import MediaKind, Verdict
from detector import views
from detector.analyze import Analysis, Analyzer
from detector.decode import Decoded, Ended, Event, Opened
from detector.faces import FaceFinder, crop
from detector.frames import Frame
from detector.media import MediaInfo
from detector.score import Scorer
from detector.spec import Card, Input, View
from tests.unit.cards import card

PORTRAIT = np.asarray(data.astronaut())
BOX = (170.4, 60.2, 280.9, 200.7)
PLAIN, MIRRORED = View(margin=0.04), View(margin=0.04, mirrored=True)
WIDE = View(margin=0.3)


def given(*seen: View) -> Input:
    return card().input.model_copy(update={"size_px": 64, "views": seen})


def described(*seen: View) -> Card:
    return card(input=given(*seen))


class LeftAgainstRight(nn.Module):
    """How much brighter the left half is, a hundredfold: a mirrored crop gives the opposite."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        half = crops.shape[3] // 2
        return 100 * (crops[..., :half].mean((1, 2, 3)) - crops[..., half:].mean((1, 2, 3)))


# --- in the card ---------------------------------------------------------------------------------


def test_without_views_a_face_is_scored_from_one_plain_crop_at_the_cards_margin() -> None:
    assert given().shown == (View(margin=0.2, mirrored=False),)
    seen = views.cut(PORTRAIT, BOX, given())
    np.testing.assert_array_equal(seen, crop(PORTRAIT, BOX, 0.2, 64)[None])


def test_a_card_without_views_is_written_as_it_was_before_there_were_any() -> None:
    assert "views" not in card().model_dump(mode="json")["input"]
    written = described(PLAIN, MIRRORED).model_dump_json()
    assert Card.model_validate_json(written).input.shown == (PLAIN, MIRRORED)


def test_views_that_would_count_twice_or_show_people_a_mirrored_face_first_are_refused() -> None:
    as_written = card().input.model_dump()
    for seen, why in (((PLAIN, PLAIN), "twice"), ((MIRRORED, PLAIN), "plain one first")):
        with pytest.raises(ValidationError, match=why):
            Input.model_validate(as_written | {"views": [view.model_dump() for view in seen]})


# --- cut -----------------------------------------------------------------------------------------


def test_each_view_is_cut_from_the_frame_itself() -> None:
    seen = views.cut(PORTRAIT, BOX, given(PLAIN, MIRRORED, WIDE))
    tight, wide = (crop(PORTRAIT, BOX, margin, 64) for margin in (0.04, 0.3))
    np.testing.assert_array_equal(seen, np.stack([tight, tight[:, ::-1], wide]))


def test_the_first_view_is_what_people_are_shown() -> None:
    wanted = crop(PORTRAIT, BOX, 0.3, 64)
    np.testing.assert_array_equal(views.first(PORTRAIT, BOX, given(WIDE, PLAIN)), wanted)


# --- scored --------------------------------------------------------------------------------------


def test_a_faces_logit_is_the_mean_over_its_views_in_the_order_of_the_faces() -> None:
    scorer = Scorer(LeftAgainstRight(), described(PLAIN, WIDE), batch=3)
    boxes = [BOX, (180.0, 60.0, 260.0, 150.0), (150.0, 80.0, 300.0, 230.0)]
    faces = np.stack([views.cut(PORTRAIT, box, scorer.card.input) for box in boxes])
    one_by_one = [scorer.score(face).mean() for face in faces]
    assert scorer.score_faces(faces) == pytest.approx(one_by_one, abs=1e-4)
    assert len({round(float(z), 2) for z in one_by_one}) == len(boxes)


def test_a_mirrored_view_takes_back_what_depends_on_left_and_right() -> None:
    scorer = Scorer(LeftAgainstRight(), described(PLAIN, MIRRORED))
    seen = views.cut(PORTRAIT, BOX, scorer.card.input)[None]
    assert abs(scorer.score(seen[0])[0]) > 1
    assert scorer.score_faces(seen) == pytest.approx([0.0], abs=1e-3)


def test_faces_with_another_number_of_views_are_refused() -> None:
    scorer = Scorer(LeftAgainstRight(), described(PLAIN, WIDE))
    with pytest.raises(ValueError, match=r"\(n, 2, 64, 64, 3\)"):
        scorer.score_faces(np.zeros((2, 3, 64, 64, 3), np.uint8))


# --- in the pipeline -----------------------------------------------------------------------------


class Counting:
    """A scorer that notes how many crops it is given at a time."""

    def __init__(self, described: Card) -> None:
        self.card = described
        self.crops: list[int] = []

    def score_faces(self, faces: np.ndarray) -> np.ndarray:
        self.crops.append(faces.shape[0] * faces.shape[1])
        return np.zeros(len(faces))


def film(frames: int) -> list[Event]:
    height, width, _ = PORTRAIT.shape
    info = MediaInfo(
        kind=MediaKind.VIDEO,
        format="mp4",
        width=width,
        height=height,
        duration_s=frames / 25,
        frame_count=frames,
    )
    shown = [
        Decoded(key=1, frame=Frame(index=i, pts_s=i / 25, image=np.roll(PORTRAIT, 16 * i, axis=1)))
        for i in range(frames)
    ]
    return [Opened(key=1, info=info), *shown, Ended(key=1, fetch_s=0.0, decode_s=0.0)]


@pytest.mark.parametrize(("seen", "batches"), [((), [4, 1]), ((PLAIN, WIDE), [4, 4, 2])])
def test_a_batch_is_full_of_crops_whatever_number_of_them_a_face_has(
    seen: tuple[View, ...], batches: list[int]
) -> None:
    scorer = Counting(described(*seen))
    analyzer = Analyzer(FaceFinder(), scorer, frame_batch=5, face_batch=4)  # type: ignore[arg-type]
    (done,) = analyzer.run(film(5))
    assert isinstance(done, Analysis)
    assert len(done.judgement.frames) == 5
    assert scorer.crops == batches


def test_a_verdict_rests_on_all_views() -> None:
    alone, both = (
        Analyzer(
            FaceFinder(), Scorer(LeftAgainstRight(), described(*seen)), frame_batch=1, face_batch=1
        )
        for seen in ((PLAIN,), (PLAIN, MIRRORED))
    )
    (one,), (two,) = (list(each.run(film(1))) for each in (alone, both))
    assert isinstance(one, Analysis)
    assert isinstance(two, Analysis)
    assert one.judgement.verdict is not Verdict.UNCERTAIN
    assert two.judgement.verdict is Verdict.UNCERTAIN
    assert two.judgement.score == pytest.approx(0.5, abs=1e-3)
