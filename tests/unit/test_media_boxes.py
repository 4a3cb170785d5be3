"""The boxes of an MP4, and reading its times without its pictures."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest

from core.vocabulary import SamplingPlan
from detector.boxes import HollowFile, ShutFile, has_index, top_boxes
from detector.frames import sample
from detector.media import Limits, probe
from detector.videos import read_table
from tests import media_factory as make


class Counting(io.BytesIO):
    """A file that knows which bytes were asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_boxes_are_found_with_their_ends() -> None:
    film = make.clip(frames=5)
    boxes = list(top_boxes(io.BytesIO(film)))
    assert [box.type for box in boxes] == [b"ftyp", b"free", b"mdat", b"moov"]
    assert boxes[-1].end == len(film)


@pytest.mark.parametrize("data", [b"", b"1234567", b"\0\0\0\x04free", b"\0\0\0\x01mdat\0\0\0\0"])
def test_nonsense_has_no_boxes(data: bytes) -> None:
    assert list(top_boxes(io.BytesIO(data))) == []


def test_a_box_of_length_zero_reaches_to_the_end() -> None:
    (box,) = top_boxes(io.BytesIO(b"\0\0\0\0mdat" + bytes(100)))
    assert (box.start, box.end) == (8, 108)


def test_a_box_of_64_bits_is_read() -> None:
    (box,) = top_boxes(io.BytesIO(b"\0\0\0\x01mdat" + (40).to_bytes(8, "big") + bytes(24)))
    assert (box.start, box.end) == (16, 40)


def test_an_index_that_is_cut_off_does_not_count() -> None:
    film = make.clip(frames=5)
    assert has_index(io.BytesIO(film))
    assert not has_index(io.BytesIO(film[:-1]))


def test_a_hollow_file_is_the_file_with_zeros_for_its_pictures() -> None:
    film = make.clip(frames=5)
    mdat = next(box for box in top_boxes(io.BytesIO(film)) if box.type == b"mdat")
    hollow = HollowFile.of(io.BytesIO(film))
    read = b"".join(iter(lambda: hollow.read(100), b""))
    assert read == film[: mdat.start] + bytes(mdat.end - mdat.start) + film[mdat.end :]


def test_a_hollow_file_seeks_like_any_other() -> None:
    hollow = HollowFile(io.BytesIO(b"abcdefghij"), [(2, 5), (7, 8)])
    assert hollow.seek(-4, io.SEEK_END) == 6
    assert hollow.read(10) == b"g"
    assert hollow.read(10) == b"\0"
    assert hollow.seek(1, io.SEEK_CUR) == 9
    assert hollow.read() == b"j"
    assert hollow.read() == b""


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe"}])
def test_the_times_of_an_mp4_are_read_without_its_pictures(options: dict[str, str]) -> None:
    film = make.clip(
        frames=400, gop=40, options={"crf": "1", "sc_threshold": "0"}, container_options=options
    )
    pictures = sum(b.end - b.start for b in top_boxes(io.BytesIO(film)) if b.type == b"mdat")
    file = Counting(film)
    table = read_table(file, "mp4", 10**6)
    assert len(table.timeline.starts) == 400
    assert list(table.timeline.keyframes) == list(range(0, 400, 40))
    assert file.taken < len(film) - pictures + 200_000


def test_the_times_read_hollow_are_those_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    film = make.clip(frames=100, gop=12)
    hollow = read_table(io.BytesIO(film), "mp4", 10**6)
    monkeypatch.setattr(HollowFile, "of", classmethod(lambda cls, file: file))
    assert read_table(io.BytesIO(film), "mp4", 10**6) == hollow


def noisy_film() -> bytes:
    """Large enough that its index is not come to by reading past the pictures."""
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(24)]
    film = make.clip(frames=pictures, options={"qp": "1"}, aspect=Fraction(4, 3), rotate=90)
    assert len(film) > 400_000
    return film


def test_a_film_opened_by_its_index_gives_the_same_header_and_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = io.BytesIO(noisy_film())
    plan = SamplingPlan.parse("uniform:5")
    shut = ShutFile.where_indexed(film)
    assert shut is not None
    info = probe(film, Limits())
    frames = list(sample(film, info, plan, Limits()))
    monkeypatch.setattr(ShutFile, "where_indexed", lambda _: None)
    assert info == probe(film, Limits())
    for frame, whole in zip(frames, sample(film, info, plan, Limits()), strict=True):
        assert (frame.index, frame.pts_s) == (whole.index, whole.pts_s)
        assert np.array_equal(frame.image, whole.image)


def test_a_file_that_is_shut_ends_at_its_pictures_until_it_is_shown() -> None:
    data = noisy_film()
    shut = ShutFile.where_indexed(io.BytesIO(data))
    assert shut is not None
    (pictures,) = [box for box in top_boxes(io.BytesIO(data)) if box.type == b"mdat"]
    shut.seek(pictures.start)
    assert shut.read(10) == b""
    shut.show()
    assert shut.read(10) == data[pictures.start : pictures.start + 10]


@pytest.mark.parametrize("options", [{}, {"movflags": "frag_keyframe+empty_moov"}])
def test_small_films_and_those_in_fragments_are_not_shut(options: dict[str, str]) -> None:
    assert ShutFile.where_indexed(io.BytesIO(make.clip(container_options=options))) is None
