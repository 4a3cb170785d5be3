"""What bytes are, and which are refused before anything is decoded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest
from PIL import Image

from core.errors import (
    DeepsweepError,
    EmptyFile,
    HostileMedia,
    NoFrames,
    TooManyPixels,
    Truncated,
    UnsupportedMedia,
)
from core.vocabulary import MediaKind
from detector.media import Limits, MediaInfo, probe, sniff
from tests import media_factory as make


def probed(data: bytes, **limits: int) -> MediaInfo:
    return probe(io.BytesIO(data), Limits(**limits))


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("face.jpg", make.picture("JPEG"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("plugin", "format"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
        ("AVIF", "avif"),
        ("HEIF", "heif"),
    ],
)
def test_pictures_are_known_by_their_first_bytes(plugin: str, format: str) -> None:
    make.load_heif()
    data = make.picture(plugin)
    assert sniff(data[:1024]) == format
    assert probed(data) == MediaInfo(
        kind=MediaKind.IMAGE,
        format=format,
        width=48,
        height=32,
        duration_s=None,
        frame_count=1,
    )


@pytest.mark.parametrize(
    ("codec", "container", "format"),
    [
        ("libx264", "mp4", "mp4"),
        ("libx264", "mov", "mov"),
        ("libx264", "matroska", "matroska"),
        ("libvpx-vp9", "webm", "webm"),
        ("mpeg4", "avi", "avi"),
        ("libx264", "mpegts", "mpegts"),
        ("mpeg1video", "mpeg", "mpeg"),
        ("mpeg2video", "mpeg2video", "mpegvideo"),
        ("flv1", "flv", "flv"),
        ("wmv2", "asf", "asf"),
        ("libvpx", "ogg", "ogg"),
        ("libvpx-vp9", "ivf", "ivf"),
    ],
)
def test_films_are_known_by_their_first_bytes(codec: str, container: str, format: str) -> None:
    data = make.clip(codec=codec, container=container, frames=12, b_frames=0)
    assert sniff(data[:1024]) == format
    info = probed(data)
    assert (info.kind, info.format) == (MediaKind.VIDEO, format)
    assert (info.width, info.height) == (make.WIDTH, make.HEIGHT)


def test_the_header_of_a_film_tells_its_length() -> None:
    info = probed(make.clip(frames=30, fps=10, b_frames=0))
    assert (info.duration_s, info.frame_count) == (3.0, 30)


def test_a_film_that_does_not_tell_its_length_has_none() -> None:
    assert probed(make.clip(codec="mpeg1video", container="mpeg")).duration_s is None


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_a_video(format: str) -> None:
    info = probed(make.animation(format, [100, 200, 300]))
    assert (info.kind, info.frame_count) == (MediaKind.VIDEO, 3)


def test_pages_of_a_tiff_are_not_a_film() -> None:
    pages = make.save(
        make.gradient(), "TIFF", save_all=True, append_images=[make.gradient(), make.gradient()]
    )
    assert probed(pages).kind is MediaKind.IMAGE


def test_a_picture_on_its_side_is_measured_upright() -> None:
    lying = make.oriented("JPEG", 6)
    assert Image.open(io.BytesIO(lying)).size == (32, 48)
    assert (probed(lying).width, probed(lying).height) == (48, 32)


REFUSED: dict[str, tuple[Callable[[], bytes], type[DeepsweepError]]] = {
    "empty": (bytes, EmptyFile),
    "zip": (archive, UnsupportedMedia),
    "text": (lambda: b"Dear reviewer, the picture is attached.\n", UnsupportedMedia),
    "svg": (lambda: b'<?xml version="1.0"?><svg width="9"/>', UnsupportedMedia),
    "pdf": (lambda: b"%PDF-1.7\n", UnsupportedMedia),
    "zeros": (lambda: bytes(5000), UnsupportedMedia),
    "hls": (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", HostileMedia),
    "hls behind a mark": (lambda: b"\xef\xbb\xbf#EXTM3U\nhttp://169.254.169.254/\n", HostileMedia),
    "concat": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", HostileMedia),
    "dash": (lambda: b'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', HostileMedia),
    "sdp": (lambda: b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", HostileMedia),
    "huge png": (lambda: make.png_header(50_000, 50_000), TooManyPixels),
    "gif bomb": (make.gif_bomb, TooManyPixels),
    "sound": (make.sound, NoFrames),
    "film without its index": (lambda: make.clip()[:-600], Truncated),
    "film without frames": (make.frameless, NoFrames),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_judged_is_refused_with_a_sentence(what: str) -> None:
    build, error = REFUSED[what]
    with pytest.raises(error) as raised:
        probed(build())
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_every_picture_format_is_held_to_the_pixel_limit(format: str) -> None:
    make.load_heif()
    data = make.picture(format)
    assert probed(data, max_pixels=48 * 32).width == 48
    with pytest.raises(TooManyPixels):
        probed(data, max_pixels=48 * 32 - 1)


def test_films_are_held_to_the_pixel_limit() -> None:
    with pytest.raises(TooManyPixels):
        probed(make.clip(frames=3), max_pixels=make.WIDTH * make.HEIGHT - 1)


def test_a_refusal_names_what_was_sent() -> None:
    with pytest.raises(UnsupportedMedia, match="ZIP archive"):
        probed(archive())
