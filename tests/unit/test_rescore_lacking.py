"""What crops that were kept for one model lack for another."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api.review_views import _first_view
from core.vocabulary import CropReason, Verdict
from db.crops import KeptCrop
from detector.spec import Input, View
from worker.rescore import Lacking, is_coarse, is_narrow


def kept(*, side_px: int, of_frame_px: int, face_px: float) -> KeptCrop:
    """A square picture of so many pixels of a larger part of the frame, a face in its middle."""
    low = (side_px - face_px) / 2
    return KeptCrop(
        id=1,
        item_id=1,
        verdict=Verdict.UNCERTAIN,
        verdict_id=1,
        track=0,
        frame_index=0,
        face_index=0,
        pts_s=0.0,
        score=0.5,
        box=(low, low, low + face_px, low + face_px),
        landmarks=(),
        area=(0, 0, of_frame_px),
        width=side_px,
        height=side_px,
        uri="file:///crop.png",
        sha256=b"",
        reason=CropReason.UNCERTAIN,
        probability=1.0,
        created_at=datetime.now(UTC),
        expires_at=None,
    )


def given(*margins: float) -> Input:
    views = tuple(View(margin=margin) for margin in margins)
    return Input(size_px=192, crop_margin=0.15, mean=(0.5,) * 3, std=(0.5,) * 3, views=views)


@pytest.mark.parametrize(
    ("crop", "narrow", "coarse"),
    [
        # As it was kept before there were views: reduced to 384 pixels.
        (kept(side_px=384, of_frame_px=900, face_px=174), False, True),
        # As fine as the frame was: the medium itself has no more.
        (kept(side_px=200, of_frame_px=200, face_px=90), False, False),
        (kept(side_px=489, of_frame_px=900, face_px=222), False, False),
        (kept(side_px=489, of_frame_px=489, face_px=450), True, False),
    ],
)
def test_a_crop_lacks_room_or_pixels_for_views_it_was_not_kept_for(
    crop: KeptCrop, narrow: bool, coarse: bool
) -> None:
    spec = given(0.15, 0.04)
    assert (is_narrow(crop, spec), is_coarse(crop, spec)) == (narrow, coarse)


def test_a_crop_of_the_single_view_of_old_cards_lacks_nothing() -> None:
    assert not is_coarse(kept(side_px=384, of_frame_px=900, face_px=174), given())


def test_what_is_lacking_is_counted_over_items() -> None:
    assert Lacking(narrow=1) + Lacking(coarse=2) == Lacking(narrow=1, coarse=2)


def test_people_are_shown_the_first_view_that_the_card_names() -> None:
    for spec, margin in ((given(0.04, 0.15), 0.04), (given(), 0.15)):
        assert _first_view(spec.model_dump(mode="json")) == spec.shown[0].margin == margin
