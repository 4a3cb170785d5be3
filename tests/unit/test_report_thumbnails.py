from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from cli import thumbnails
from cli.documents import Document
from core.errors import ObjectMissing, Truncated
from detector.frames import Frame
from tests.unit import item_documents as items


def shades(document: Document) -> Iterator[Frame]:
    """Each frame in its own shade of grey, so that pictures can be told apart."""
    for position, frame in enumerate(document["frames"]):
        picture = np.full((100, 200, 3), 20 * position, dtype=np.uint8)
        yield Frame(index=frame["index"], pts_s=frame["pts_s"], image=picture)


def decoded(picture: thumbnails.Picture) -> Image.Image:
    head, _, body = picture.uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def long_video(frames: int) -> Document:
    return items.video(
        frames=[
            items.frame(items.face(0.5), index=number, pts_s=float(number))
            for number in range(frames)
        ]
    )


def test_the_large_picture_is_where_the_most_suspicious_person_scores_highest() -> None:
    found = thumbnails.pictures(items.video(), shades)
    assert found.hero is not None
    assert found.hero.position == 3
    assert decoded(found.hero.picture).convert("L").getpixel((0, 0)) == pytest.approx(60, abs=4)


def test_a_picture_is_never_enlarged_and_keeps_its_proportions() -> None:
    found = thumbnails.encode(np.zeros((100, 200, 3), dtype=np.uint8), 560)
    assert (found.width, found.height) == (200, 100)
    small = thumbnails.encode(np.zeros((100, 200, 3), dtype=np.uint8), 50)
    assert (small.width, small.height) == decoded(small).size == (50, 25)


def test_a_long_video_shows_frames_from_its_start_to_its_end() -> None:
    document = long_video(512)
    positions = thumbnails.strip_positions(document)
    assert len(positions) <= thumbnails.STRIP_FRAMES
    assert (positions[0], positions[-1]) == (0, 511)
    assert thumbnails.hero_position(document) in positions


def test_a_still_picture_has_no_strip() -> None:
    assert thumbnails.pictures(items.image(), shades).strip == ()


def test_people_are_cut_from_their_largest_box_most_suspicious_first() -> None:
    small, large = (0.0, 0.0, 10.0, 10.0), (60.0, 20.0, 120.0, 80.0)
    frames = [
        items.frame(items.face(0.1, track=1, box=large), items.face(0.9, track=0, box=small)),
        items.frame(items.face(0.8, track=0, box=large), index=1, pts_s=1.0),
    ]
    found = thumbnails.largest_faces(items.video(frames=frames))
    assert list(found) == [0, 1]
    assert found[0][0] == 1
    assert found[1][0] == 0


@pytest.mark.parametrize(
    "box",
    [(60.0, 20.0, 120.0, 80.0), (-30.0, -30.0, 20.0, 20.0), (190.0, 90.0, 240.0, 140.0)],
)
def test_a_close_up_is_a_square_within_the_frame(box: tuple[float, float, float, float]) -> None:
    cut = thumbnails.close_up(np.zeros((100, 200, 3), dtype=np.uint8), box)
    height, width = cut.shape[:2]
    assert height == width
    assert 0 < height <= 100


def test_an_object_that_is_gone_gives_its_sentence() -> None:
    def read(document: Document) -> Iterator[Frame]:
        raise ObjectMissing("There is no such file any more.")

    found = thumbnails.pictures(items.image(), read)
    assert found == thumbnails.Pictures(people={}, missing="There is no such file any more.")


def test_an_object_that_breaks_off_while_it_is_read_gives_its_sentence() -> None:
    def read(document: Document) -> Iterator[Frame]:
        yield from list(shades(document))[:2]
        raise Truncated("The file ends before its picture does.")

    assert thumbnails.pictures(items.video(), read).missing is not None


def test_other_frames_than_the_recorded_ones_are_not_shown() -> None:
    def read(document: Document) -> Iterator[Frame]:
        yield Frame(index=999, pts_s=9.0, image=np.zeros((100, 200, 3), dtype=np.uint8))

    found = thumbnails.pictures(items.video(), read)
    assert found.hero is None
    assert "not found" in (found.missing or "")
