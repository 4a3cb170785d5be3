"""Pictures through Pillow: opened by an allow-list, measured before they are loaded, upright RGB.

Apart from media.py and frames.py because those say what a medium is and which frames are wanted;
this module is the only one that knows Pillow, as videos.py is the only one that knows FFmpeg.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import AvifImagePlugin, Image, ImageCms, UnidentifiedImageError

from core.errors import MediaError, TooManyPixels, Truncated, Undecodable

Pixels = npt.NDArray[np.uint8]

#: Our name of a format -> the one Pillow plugin that may open it.
PLUGINS = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "tiff": "TIFF",
    "heif": "HEIF",
    "avif": "AVIF",
}

#: Formats whose further frames are a film. Those of TIFF, MPO (in JPEG) and HEIF are pages,
#: stereo pairs, gain maps and bursts: their first, or primary, picture is the medium.
ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF"})

#: What transparent pixels show: the white of a page.
BACKGROUND = (255, 255, 255)

#: Duration of an animation frame that names none, or zero; what browsers use, seconds.
DEFAULT_FRAME_S = 0.1

#: What Pillow's plugins raise on bytes that are not as they should be.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_ORIENTATION_TAG = 0x0112


@contextmanager
def opened(file: BinaryIO, format: str, max_pixels: int) -> Iterator[Image.Image]:
    """The picture of a file, header read and nothing decoded, for as long as the block runs.

    Raises TooManyPixels from the header; what Pillow raises inside the block comes out as
    Truncated or Undecodable.
    """
    load_plugins()
    # What Pillow grumbles about and reads all the same is no news; sizes are judged below.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    file.seek(0)
    try:
        with Image.open(file, formats=[PLUGINS[format]]) as image:
            refuse_pixels(image.size, max_pixels)
            yield image
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"The picture is too large to be read ({error}).") from error
    except _BROKEN as error:
        # An errno comes from reading the bytes, not from what they are.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _translated(error, format) from error


def refuse_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Raise TooManyPixels when width times height is over the limit."""
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"The picture is {width:,} x {height:,} pixels; at most {max_pixels:,} pixels are read."
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after EXIF orientation, from the header."""
    # Pillow's TIFF plugin has swapped them already.
    if image.format != "TIFF" and _orientation(image) >= 5:
        return image.height, image.width
    return image.size


def count_frames(image: Image.Image) -> int:
    """How many frames a film of this format has; 1 for a still."""
    if image.format not in ANIMATED:
        return 1
    return int(getattr(image, "n_frames", 1))


def frame_times(image: Image.Image, max_pixels: int) -> tuple[list[float], float]:
    """When each frame of an animation begins, and when the last one ends; seconds from the start.

    Pillow learns a frame's duration when it decodes it, so this plays the animation once. An
    animation that breaks off ends there.
    """
    starts = []
    clock_s = 0.0
    for _ in play(image, max_pixels):
        starts.append(clock_s)
        milliseconds = float(image.info.get("duration") or 0)
        clock_s += milliseconds / 1000 if milliseconds > 0 else DEFAULT_FRAME_S
    return starts, clock_s


def play(image: Image.Image, max_pixels: int) -> Iterator[Image.Image]:
    """The same image object once for each frame, loaded.

    The first frame must decode; a later one that does not ends the animation. Raises TooManyPixels.
    """
    for index in range(count_frames(image)):
        try:
            image.seek(index)
            image.load()
        except _BROKEN:
            if index == 0:
                raise
            return
        # A GIF frame may reach over the edge that the header announced.
        refuse_pixels(image.size, max_pixels)
        yield image


def to_rgb(image: Image.Image) -> Pixels:
    """The picture as a person would see it: upright, on BACKGROUND, in sRGB, (height, width, 3)."""
    image.load()
    orientation = _orientation(image)
    profile = image.info.get("icc_profile")
    plain = _flatten(_to_eight_bits(image), profile)
    return np.array(turn(np.asarray(plain), orientation), order="C")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as grey of 8, scaled; everything else as it is."""
    if image.mode.startswith("I;16"):
        return _from_sixteen_bits(np.asarray(image))
    if image.mode not in {"I", "F"}:
        return image
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    low, high = float(values.min()), float(values.max())
    if image.mode == "I" and low >= 0 and 255 < high <= 65535:
        return _from_sixteen_bits(values)
    # Signed, 32-bit and floating grey agree on no white: show darkest to lightest.
    if image.mode == "I" and low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray(scaled.round().astype(np.uint8))


def _from_sixteen_bits(values: npt.NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _flatten(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB without alpha, in sRGB where the picture says what its colours mean."""
    if image.mode == "CMYK" and profile:
        return _to_srgb(image, profile) or image.convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        page = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(page, layer)
    plain = image.convert("RGB")
    return (_to_srgb(plain, profile) if profile else None) or plain


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB, or None when its profile is sRGB, for other channels, or broken."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != {"RGB": "RGB", "CMYK": "CMYK"}[image.mode]:
            return None
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, *_BROKEN):
        return None


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing or unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (table in Exif 2.32, 4.6.4): 5 to 8 lie on their side."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return pixels


def _translated(error: Exception, format: str) -> MediaError:
    message = str(error)
    if isinstance(error, UnidentifiedImageError):
        return Undecodable(f"The file begins as a {format} picture, but its header is damaged.")
    if isinstance(error, EOFError) or any(sign in message.lower() for sign in _TRUNCATION):
        return Truncated(f"The {format} picture ends before it is complete ({message}).")
    return Undecodable(f"The {format} picture cannot be decoded ({message or repr(error)}).")


#: Words by which Pillow and its libraries tell of a file that is too short.
_TRUNCATION = ("truncated", "end of file", "not enough", "premature", "unexpected end")


@functools.cache
def load_plugins() -> None:
    """Add HEIF to Pillow's plugins, and keep all of them to one thread."""
    # Imported here: loading libheif takes a moment that only processes with pictures should pay.
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.register_heif_opener()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
