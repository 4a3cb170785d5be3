"""A run's curves as TensorBoard events, written without TensorBoard (docs/adr/0007).

An event file is a row of records: eight bytes of length and its checksum, the bytes of one Event
message, and their checksum (TFRecord). Only numbers are written, so three small messages suffice:
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from training.fitting import StepReport

#: Below a run's folder.
FOLDER = "events"
_VERSION = b"brain.Event:2"
#: Castagnoli's polynomial, bits reversed, and what TFRecord adds to a checksum.
_POLYNOMIAL, _MASK = 0x82F63B78, 0xA282EAD8
#: Numbers of fields and their wire types, as one byte: 64 bits, varint, bytes, 32 bits.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION = 0x09, 0x10, 0x1A, 0x2A, 0x3A
_VALUE, _TAG, _SIMPLE_VALUE, _STATUS = 0x0A, 0x0A, 0x15, 0x08
#: SessionLog.START: what an earlier session wrote from this step on is void.
_START = 1


class Events:
    """Writes one file of a session. Every record is with the system when its call returns."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """`first_step` is where this session begins: later ones of a killed session are void."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        self._file: BinaryIO = (folder / name).open("xb", buffering=0)
        self._write(_field(_FILE_VERSION, _VERSION))
        start = bytes([_STATUS]) + _varint(_START)
        self._write(bytes([_STEP]) + _varint(first_step) + _field(_SESSION, start))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Named figures at a step."""
        summary = b"".join(
            _field(
                _VALUE,
                _field(_TAG, name.encode()) + bytes([_SIMPLE_VALUE]) + struct.pack("<f", value),
            )
            for name, value in values.items()
        )
        self._write(bytes([_STEP]) + _varint(step) + _field(_SUMMARY, summary))

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, fields: bytes) -> None:
        event = bytes([_WALL_TIME]) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        self._file.write(length + _checksum(length) + event + _checksum(event))


class Recorder:
    """Watches a run: loss and learning rate of each step, figures of each validation."""

    def __init__(self, out: Path, then: Callable[[StepReport], None] | None = None) -> None:
        """`out` is the run's folder; `then` is told of each step afterwards."""
        self._folder = out / FOLDER
        self._then = then
        self._events: Events | None = None
        self._told = -1

    def __call__(self, report: StepReport) -> None:
        """Write what a step reports, and pass it on."""
        if self._events is None:
            self._events = Events(self._folder, report.step)
        figures = report.figures or {}
        values = {f"validation/{name}": value for name, value in figures.items()}
        if report.step != self._told:  # the end of an epoch is told with its last step's number
            values["training/loss"] = report.loss
            values["training/learning_rate"] = report.learning_rate
        self._told = report.step
        self._events.write(report.step, values)
        if self._then is not None:
            self._then(report)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()


def _field(key: int, payload: bytes) -> bytes:
    return bytes([key]) + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _checksum(payload: bytes) -> bytes:
    """CRC-32C, turned and shifted as TFRecord asks."""
    crc = 0xFFFFFFFF
    for byte in payload:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    turned = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (turned + _MASK) & 0xFFFFFFFF)


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_row(byte) for byte in range(256))
