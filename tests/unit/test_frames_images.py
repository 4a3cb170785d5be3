"""Still pictures become upright RGB of eight bits, whatever they were."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.errors import Truncated, Undecodable
from core.vocabulary import DEFAULT_PLAN
from detector.frames import Frame, Pixels, sample
from detector.images import BACKGROUND
from detector.media import Limits, probe
from tests import media_factory as make


def decoded(data: bytes) -> Pixels:
    file = io.BytesIO(data)
    (frame,) = sample(file, probe(file, Limits()), DEFAULT_PLAN, Limits())
    assert (frame.index, frame.pts_s) == (0, 0.0)
    return frame.image


def differs(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Mean difference of two pictures, in steps of 255."""
    return float(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean())


GRADIENT = np.asarray(make.gradient())
GREY = np.asarray(make.gradient().convert("L"))


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("PNG", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
        ("PNG", "RGBA"),
        ("TIFF", "CMYK"),
        ("TIFF", "YCbCr"),
    ],
)
def test_lossless_colour_comes_out_as_it_went_in(format: str, mode: str) -> None:
    assert differs(decoded(make.picture(format, mode)), GRADIENT) < 1.5


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "HEIF"])
def test_lossy_colour_comes_out_nearly_as_it_went_in(format: str) -> None:
    make.load_heif()
    assert differs(decoded(make.picture(format, quality=95)), GRADIENT) < 4


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_grey_and_palette_become_three_channels(mode: str) -> None:
    image = decoded(make.save(make.gradient().convert("L").convert(mode), "PNG"))
    assert image.shape == (32, 48, 3)
    assert image.dtype == np.uint8
    assert differs(image.mean(2), GREY) < 1


def test_black_and_white_is_black_and_white() -> None:
    dithered = make.gradient().convert("1")
    image = decoded(make.save(dithered, "PNG"))
    assert np.array_equal(image[..., 0], np.asarray(dithered) * np.uint8(255))


def test_cmyk_as_adobe_inverts_it_is_no_negative() -> None:
    data = make.save(make.gradient().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert differs(decoded(data), GRADIENT) < 4


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(format: str) -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert differs(decoded(make.save(deep, format))[..., 0], GREY) < 0.01


def test_floating_grey_runs_from_darkest_to_lightest() -> None:
    image = decoded(make.save(Image.fromarray(GREY.astype(np.float32) / 1000 - 7), "TIFF"))
    assert (image.min(), image.max()) == (0, 255)


def test_a_flat_floating_picture_is_black() -> None:
    assert not decoded(make.save(Image.new("F", (8, 8), 3.5), "TIFF")).any()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparent_pixels_show_the_stated_background(format: str) -> None:
    glass = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    glass.paste((200, 0, 0, 255), (0, 0, 8, 16))
    image = decoded(make.save(glass, format, **({"lossless": True} if format == "WEBP" else {})))
    assert tuple(image[8, 12]) == BACKGROUND
    assert tuple(image[8, 3]) == (200, 0, 0)


def test_a_transparent_palette_colour_shows_the_background() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert tuple(decoded(make.save(palette, "PNG", transparency=1))[0, 0]) == BACKGROUND


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(format: str, orientation: int) -> None:
    assert differs(decoded(make.oriented(format, orientation)), GRADIENT) < 4


def test_colours_of_another_space_are_brought_to_srgb() -> None:
    data = make.save(make.gradient(), "PNG", icc_profile=make.profile_with_red_for_green())
    assert differs(decoded(data), GRADIENT[..., [1, 0, 2]]) < 4


@pytest.mark.parametrize("profile", [b"", b"garbage", bytes(200)])
def test_a_broken_profile_is_passed_over(profile: bytes) -> None:
    assert differs(decoded(make.save(make.gradient(), "PNG", icc_profile=profile)), GRADIENT) < 1


def test_broken_exif_is_passed_over() -> None:
    data = make.save(make.gradient(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=95)
    assert differs(decoded(data), GRADIENT) < 4


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "AVIF", "HEIF"])
def test_a_picture_cut_short_is_an_error_and_no_grey_area(format: str) -> None:
    make.load_heif()
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    whole = make.save(noise, format)
    with pytest.raises((Truncated, Undecodable)):
        decoded(whole[: len(whole) // 2])


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_the_error_of_a_picture_cut_short_says_so(format: str) -> None:
    whole = make.save(Image.effect_noise((64, 64), 80).convert("RGB"), format)
    with pytest.raises(Truncated, match="ends before"):
        decoded(whole[: len(whole) // 2])


def test_a_frame_refuses_what_is_not_rgb_of_eight_bits() -> None:
    with pytest.raises(ValueError, match="uint8"):
        Frame(index=0, pts_s=0.0, image=np.zeros((4, 4), np.uint8))
