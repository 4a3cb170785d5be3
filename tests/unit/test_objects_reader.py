"""OpenObject: a file to every reader, over bytes that come in pieces."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.objects import OpenObject

DATA = bytes(range(256)) * 40


class Pieces:
    """A ByteSource that gives at most seven bytes at a time and counts what it gave."""

    def __init__(self, data: bytes, stated: str | None = None) -> None:
        self.data, self.stated = data, stated
        self.size, self.etag, self.bytes_read, self.closed = len(data), "e", 0, False

    def read_at(self, offset: int, size: int) -> bytes:
        assert 0 <= offset < self.size
        assert size > 0
        data = self.data[offset : offset + min(size, 7)]
        self.bytes_read += len(data)
        return data

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Nothing to prepare."""

    def stated_sha256(self) -> str | None:
        return self.stated

    def close(self) -> None:
        self.closed = True


def opened(data: bytes = DATA, stated: str | None = None) -> OpenObject:
    return OpenObject(Pieces(data, stated))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


offsets = st.integers(-30, 30)
steps = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40)),
    st.tuples(st.just("seek"), st.tuples(st.integers(0, 120), st.just(os.SEEK_SET))),
    st.tuples(st.just("seek"), st.tuples(offsets, st.sampled_from([os.SEEK_CUR, os.SEEK_END]))),
)


@given(st.binary(max_size=100), st.lists(steps, max_size=20))
def test_behaves_like_a_file_in_memory_and_hashes_the_whole(data, script):
    mine, theirs = opened(data), io.BytesIO(data)
    for verb, argument in script:
        if verb == "read":
            assert mine.read(argument) == theirs.read(argument)
            continue
        offset, whence = argument
        # BytesIO moves to 0 where a file refuses to go before the start.
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: theirs.tell(), os.SEEK_END: len(data)}[whence]
        if origin + offset < 0:
            with pytest.raises(ValueError, match="before the start"):
                mine.seek(offset, whence)
        else:
            assert mine.seek(offset, whence) == theirs.seek(offset, whence)
        assert mine.tell() == theirs.tell()
    assert mine.sha256() == sha256(data)
    assert mine.tell() == theirs.tell()


def test_reading_from_start_to_end_gives_the_hash_without_further_reading():
    reader = opened()
    while reader.read(100):
        pass
    assert reader.bytes_read == len(DATA)
    assert reader.sha256_if_known() == reader.sha256() == sha256(DATA)
    assert reader.bytes_read == len(DATA)


def test_the_hash_is_unknown_after_a_gap_until_it_is_asked_for():
    reader = opened()
    reader.read(10)
    reader.seek(1000)
    reader.read(10)
    assert reader.sha256_if_known() is None
    assert reader.sha256() == sha256(DATA)
    assert reader.bytes_read == len(DATA) + 10
    assert reader.tell() == 1010


def test_reading_again_after_a_jump_to_the_end_still_completes_the_hash():
    reader = opened()
    reader.read(100)
    reader.seek(-50, os.SEEK_END)
    reader.read()
    reader.seek(60)
    reader.read()
    assert reader.sha256_if_known() == sha256(DATA)


def test_what_the_storage_states_is_the_hash_when_nothing_was_read():
    assert opened(stated="5ta7ed").sha256_if_known() == "5ta7ed"


def test_an_empty_object_reads_as_nothing_and_has_a_hash():
    reader = opened(b"")
    assert (reader.read(), reader.size, reader.sha256_if_known()) == (b"", 0, sha256(b""))


def test_closing_closes_the_source_and_keeps_a_complete_hash():
    source = Pieces(DATA)
    with OpenObject(source) as reader:
        reader.read()
    assert source.closed
    assert reader.sha256() == sha256(DATA)


def test_a_closed_object_reads_nothing():
    reader = opened()
    reader.close()
    for use in (reader.read, reader.tell, lambda: reader.seek(0), reader.sha256):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_fills_a_buffer_that_is_not_of_bytes():
    reader, buffer = opened(), memoryview(bytearray(16)).cast("I")
    assert reader.readinto(buffer) == 16
    assert buffer.tobytes() == DATA[:16]


def test_can_only_be_read():
    reader = opened()
    assert (reader.readable(), reader.seekable(), reader.writable()) == (True, True, False)
    with pytest.raises(ValueError, match="whence"):
        reader.seek(0, 7)


def test_pillow_reads_a_picture_from_it():
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 60)).save(file, "PNG")
    with opened(file.getvalue()) as reader, Image.open(reader) as image:
        assert image.convert("RGB").getpixel((20, 10)) == (200, 30, 60)
