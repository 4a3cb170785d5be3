"""The frames of films: exactly the planned ones, upright, in true colours, at true times."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import DeepsweepError, TooManyPixels, Undecodable
from core.vocabulary import SamplingPlan
from detector import decode_film
from detector.frames import Frame, Pixels, sample
from detector.media import Limits, probe
from tests import media_factory as make


def sampled(data: bytes, plan: str = "uniform:5", limits: Limits | None = None) -> list[Frame]:
    file = io.BytesIO(data)
    info = probe(file, limits or Limits())
    return list(sample(file, info, SamplingPlan.parse(plan), limits or Limits()))


def numbers(frames: list[Frame]) -> list[int]:
    return [make.number_of(frame.image) for frame in frames]


#: Keeps x264 from putting keyframes where the scene changes.
FIXED_GOP = {"sc_threshold": "0"}

CODECS: dict[str, Callable[..., bytes]] = {
    "h264 mp4": lambda **k: make.clip(**k),
    "h264 mp4 in fragments": lambda **k: make.clip(
        container_options={"movflags": "frag_keyframe+empty_moov"}, **k
    ),
    "h264 matroska": lambda **k: make.clip(container="matroska", **k),
    "h264 transport stream": lambda **k: make.clip(container="mpegts", **k),
    "h264 4:4:4": lambda **k: make.clip(pix_fmt="yuv444p", **k),
    "h264 10 bit": lambda **k: make.clip(pix_fmt="yuv420p10le", **k),
    "hevc mp4": lambda **k: make.clip(
        codec="libx265", options={"x265-params": "log-level=none"}, **k
    ),
    "vp8 webm with hidden frames": lambda **k: make.clip(
        codec="libvpx",
        container="webm",
        options={"auto-alt-ref": "1", "lag-in-frames": "16"},
        **k,
    ),
    "vp9 webm": lambda **k: make.clip(codec="libvpx-vp9", container="webm", **k),
    "mpeg-4 avi": lambda **k: make.clip(codec="mpeg4", container="avi", **k),
    "mpeg-2 stream without times": lambda **k: make.clip(
        codec="mpeg2video", container="mpeg2video", **k
    ),
    "prores mov": lambda **k: make.clip(
        codec="prores_ks", container="mov", pix_fmt="yuv422p10le", **k
    ),
    "ffv1 matroska": lambda **k: make.clip(codec="ffv1", container="matroska", **k),
}


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_and_container_gives_exactly_the_planned_frames(codec: str) -> None:
    frames = sampled(CODECS[codec](frames=80, gop=12), "uniform:4")
    assert [frame.index for frame in frames] == [10, 30, 50, 70]
    assert numbers(frames) == [10, 30, 50, 70]
    assert [frame.pts_s for frame in frames] == pytest.approx([0.4, 1.2, 2.0, 2.8], abs=1e-3)


@pytest.mark.parametrize("plan", ["uniform:7", "every:0.5", "random:6:3", "keyframes:3"])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_jumping_gives_the_same_pixels_as_decoding_everything(
    plan: str, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make.clip(container=container, frames=120, gop=15)
    jumped = sampled(film, plan)
    monkeypatch.setattr(decode_film, "_MIN_SKIP", 10**9)
    decoded = sampled(film, plan)
    assert [(f.index, f.pts_s) for f in jumped] == [(f.index, f.pts_s) for f in decoded]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(jumped, decoded, strict=True))
    assert [frame.index for frame in jumped] == numbers(jumped)


def test_where_seeking_fails_everything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_film._Reader, "_seek", lambda *_: False)
    assert numbers(sampled(make.clip(frames=120, gop=15), "uniform:4")) == [15, 45, 75, 105]


def test_keyframes_are_those_of_the_film() -> None:
    frames = sampled(make.clip(frames=50, gop=10, options=FIXED_GOP), "keyframes:5")
    assert numbers(frames) == [0, 10, 20, 30, 40]


#: Formats whose packets do not say when their frames are shown.
LEARNED_BY_DECODING = {"mpeg-4 avi", "mpeg-2 stream without times"}


@pytest.mark.parametrize("codec", sorted(CODECS.keys() - LEARNED_BY_DECODING))
def test_a_whole_film_is_never_decoded_patiently(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_film._Reader, "patiently", lambda *_: iter(()))
    film = CODECS[codec](frames=80, gop=12)
    for plan, count in (("uniform:4", 4), ("keyframes:6", 6), ("random:9:1", 9)):
        frames = sampled(film, plan)
        assert len(frames) == count
        assert numbers(frames) == [frame.index for frame in frames]


def fed(film: bytes, plan: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many packets are decoded for a plan, and how many frames come out of them."""
    counts = [0, 0]
    decoded = decode_film.decoded

    def counted(packet: Packet[VideoStream]) -> list[VideoFrame]:
        frames = decoded(packet)
        counts[0] += 1
        counts[1] += len(frames)
        return frames

    monkeypatch.setattr(decode_film, "decoded", counted)
    sampled(film, plan)
    return counts[0], counts[1]


def test_a_keyframe_costs_one_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    film = make.clip(frames=100, gop=20, options=FIXED_GOP)
    packets, _ = fed(film, "keyframes:5", monkeypatch)
    assert packets == 5


def test_a_jump_spares_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    film = make.clip(frames=120, gop=20, options=FIXED_GOP)
    packets, _ = fed(film, "uniform:2", monkeypatch)
    assert 22 <= packets <= 28  # Frames 30 and 90, each ten behind its keyframe, and B-frames.


def test_frames_that_no_other_is_made_from_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film = make.clip(frames=noise(100), gop=100, options=FIXED_GOP | {"b-pyramid": "0"})
    packets, frames = fed(film, "uniform:4", monkeypatch)
    assert packets > 85
    assert frames < packets / 2


def test_frames_decoded_by_several_threads_are_the_same() -> None:
    film = make.clip(frames=120, gop=30)
    file = io.BytesIO(film)
    info = probe(file, Limits())
    for text in ("uniform:8", "keyframes:4"):
        plan = SamplingPlan.parse(text)
        one, three = (list(sample(file, info, plan, Limits(), threads=n)) for n in (1, 3))
        assert [frame.index for frame in one] == [frame.index for frame in three]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(one, three, strict=True))


def test_a_short_film_gives_each_frame_once() -> None:
    assert numbers(sampled(make.clip(frames=3), "uniform:16")) == [0, 1, 2]
    assert numbers(sampled(make.clip(frames=1), "every:2")) == [0]


def test_times_of_a_variable_rate_are_the_true_ones() -> None:
    ticks = [0, 10, 20, 500, 1400, 1410, 1420, 3000]
    frames = sampled(make.clip(container="matroska", frames=8, ticks=ticks), "uniform:8")
    assert [round(frame.pts_s * 1000) for frame in frames] == ticks


def test_time_begins_with_the_first_frame() -> None:
    late = [1000 + 40 * number for number in range(20)]
    frames = sampled(make.clip(container="matroska", frames=20, ticks=late), "every:0.4")
    assert [round(frame.pts_s, 3) for frame in frames] == [0.0, 0.4]
    assert numbers(frames) == [0, 10]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_film_from_a_turned_phone_stands_upright(degrees: int) -> None:
    turned = np.ascontiguousarray(np.rot90(corner(), k=degrees // 90))
    frames = sampled(make.clip(frames=[turned] * 3, rotate=-degrees), "uniform:1")
    assert frames[0].image.shape == corner().shape
    assert np.abs(frames[0].image.astype(int) - corner()).mean() < 4


def test_the_size_of_a_turned_film_is_that_of_the_upright_picture() -> None:
    info = probe(io.BytesIO(make.clip(frames=3, rotate=90)), Limits())
    assert (info.width, info.height) == (make.HEIGHT, make.WIDTH)


def corner() -> Pixels:
    """Black with one white corner, top left; wider than high."""
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32, :32] = 255
    return picture


def test_pixels_that_are_not_square_are_made_square() -> None:
    film = make.clip(frames=3, aspect=Fraction(2, 1))
    assert probe(io.BytesIO(film), Limits()).width == 2 * make.WIDTH
    assert sampled(film)[0].image.shape == (make.HEIGHT, 2 * make.WIDTH, 3)


PATCHES = [(200, 30, 40), (20, 180, 60), (30, 60, 220), (128, 128, 128), (250, 250, 250), (5, 5, 5)]


@pytest.mark.parametrize(
    ("space", "span"),
    [(1, 1), (1, 2), (5, 1), (5, 2), (9, 1)],
    ids=["BT.709", "BT.709 full range", "BT.601", "BT.601 full range", "BT.2020"],
)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_colours_come_out_as_they_went_in(space: int, span: int, pix_fmt: str) -> None:
    picture = np.repeat(np.array([PATCHES], np.uint8), 32, axis=1).repeat(64, axis=0)
    (frame,) = sampled(
        make.clip(frames=[picture] * 2, pix_fmt=pix_fmt, colours=(space, span)), "uniform:1"
    )
    middles = frame.image[32, 16::32]
    assert np.abs(middles.astype(int) - PATCHES).max() <= 4


def test_damage_in_the_middle_costs_only_what_is_damaged() -> None:
    film = bytearray(make.clip(frames=noise(60), gop=10, container="mp4"))
    start = film.index(b"mdat")
    middle = start + (film.index(b"moov") - start) // 2
    film[middle : middle + 3000] = bytes(3000)
    frames = sampled(bytes(film), "uniform:12")
    assert 6 <= len(frames) <= 12
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    assert indices[0] < 5
    assert indices[-1] > 50


def test_a_film_damaged_throughout_is_undecodable() -> None:
    film = bytearray(make.clip(frames=noise(20), gop=10))
    start, end = film.index(b"mdat") + 4, film.index(b"moov") - 4
    film[start:end] = bytes(end - start)
    with pytest.raises(Undecodable):
        sampled(bytes(film))


def test_a_film_that_breaks_off_gives_what_it_has() -> None:
    film = make.clip(frames=noise(60), gop=10, container="matroska")
    frames = sampled(film[: len(film) // 2], "uniform:4")
    assert len(frames) == 4
    assert frames[-1].index < 40


def noise(count: int) -> list[Pixels]:
    """Pictures that take many bytes each."""
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(count)]


def test_a_frame_larger_than_the_header_said_is_refused() -> None:
    film = make.clip(codec="libvpx", container="ivf", frames=5)
    header = bytearray(film)
    header[12:16] = (16).to_bytes(2, "little") * 2
    limits = Limits(max_pixels=16 * 16)
    with pytest.raises(DeepsweepError) as raised:
        sampled(bytes(header), limits=limits)
    assert isinstance(raised.value, (TooManyPixels, Undecodable))
