"""Broken media, made from sound ones: bit flips, cuts, overwritten numbers, spliced headers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import media_factory as make

#: Larger files teach nothing new and take long.
MAX_SEED_BYTES = 400_000
#: Where containers and headers keep their numbers.
_HEAD_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One broken medium."""

    #: Which medium, which mutation, which number: enough to make it again.
    name: str
    data: bytes


def seeds(media: Path | None) -> dict[str, bytes]:
    """Sound media of all formats: made here, and those of the robustness folder where it is."""
    made = _made()
    if media is not None:
        for file in sorted((media / "robustness").rglob("*")):
            if file.is_file() and 0 < file.stat().st_size <= MAX_SEED_BYTES:
                made[file.relative_to(media).as_posix()] = file.read_bytes()
    return made


def mutants(sound: dict[str, bytes], count: int, *, first: int = 0) -> Iterator[Mutant]:
    """The mutants number `first` to `count`; each number gives the same one every time."""
    names = sorted(sound)
    for number in range(first, count):
        draw = random.Random(number)
        name = names[number % len(names)]
        other = sound[draw.choice(names)]
        how, mutate = _MUTATIONS[(number // len(names)) % len(_MUTATIONS)]
        data = mutate(bytearray(sound[name]), other, draw)
        yield Mutant(name=f"{number:05} {how} {name}", data=bytes(data))


def _made() -> dict[str, bytes]:
    make.load_heif()
    stills = {name: make.picture(name) for name in ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "HEIF")}
    stills["GIF"] = make.picture("GIF", "P")
    moving = {f"animated {name}": make.animation(name, [40] * 6) for name in ("GIF", "WEBP", "PNG")}
    films = {
        "film mp4": make.clip(frames=24),
        "film mov": make.clip(frames=24, container="mov"),
        "film mkv": make.clip(frames=24, container="matroska"),
        "film avi": make.clip(frames=24, container="avi", codec="mpeg4"),
        "film ts": make.clip(frames=24, container="mpegts"),
        "film webm": make.clip(frames=12, container="webm", codec="libvpx"),
    }
    return stills | moving | films


# --- mutations ------------------------------------------------------------------------------------

Mutation = Callable[[bytearray, bytes, random.Random], bytes | bytearray]


def _flip_bits(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    for _number in range(draw.choice((1, 4, 16, 64, 256))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _flip_in_header(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    for _number in range(draw.choice((1, 2, 4, 8))):
        data[draw.randrange(min(_HEAD_BYTES, len(data)))] ^= 1 << draw.randrange(8)
    return data


def _truncate(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))]


def _splice(data: bytearray, other: bytes, draw: random.Random) -> bytes:
    """The header of one medium before the body of another."""
    cut = draw.randrange(4, min(_HEAD_BYTES, len(data)) + 4)
    return bytes(data[:cut]) + other[cut:]


def _overwrite_numbers(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    """Extreme values where sizes and offsets may stand."""
    for _number in range(draw.choice((1, 3, 9))):
        extreme = draw.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
        at = draw.randrange(max(1, len(data) - 4))
        data[at : at + 4] = extreme
    return data


def _cut_out(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data))
    del data[start : start + draw.randrange(1, 1 + len(data) // 4)]
    return data


def _repeat_part(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data))
    part = data[start : start + draw.randrange(1, 1 + len(data) // 4)]
    data[start:start] = part * draw.choice((1, 2, 5))
    return data


def _fill_with_noise(data: bytearray, _: bytes, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data))
    length = min(draw.randrange(1, 1 + len(data) // 2), len(data) - start)
    data[start : start + length] = draw.randbytes(length)
    return data


_MUTATIONS: Sequence[tuple[str, Mutation]] = (
    ("bits", _flip_bits),
    ("header bits", _flip_in_header),
    ("truncated", _truncate),
    ("spliced", _splice),
    ("numbers", _overwrite_numbers),
    ("cut out", _cut_out),
    ("repeated", _repeat_part),
    ("noise", _fill_with_noise),
)
