"""Files and directories: what is listed, what is refused, and what reading notices."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.errors import (
    AccessDenied,
    FileTooLarge,
    ObjectChanged,
    ObjectMissing,
    StorageUnavailable,
    UnsupportedSource,
)
from core.objects import PAGE_ENTRIES, Listing, ObjectRef, Storage, base, local
from core.settings import Settings

NOBODY = 65534


@pytest.fixture
def storage() -> Storage:
    return Storage(Settings())


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that other users may enter, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="deepsweep-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Root may read everything: lay that down for a moment."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names(listings: Iterator[Listing], folder: Path) -> list[str]:
    found = [ref.uri for page in listings for ref in page.objects]
    return [str(local.path_of(uri).relative_to(folder)) for uri in found]


def codes(listings: Iterator[Listing], folder: Path) -> dict[str, str]:
    errors = [error for page in listings for error in page.errors]
    return {str(local.path_of(each.uri).relative_to(folder)): each.code for each in errors}


# --- listing -------------------------------------------------------------------------------------


def test_a_file_lists_as_itself(storage, tmp_path):
    fill(tmp_path, "a.jpg")
    status = (tmp_path / "a.jpg").stat()
    ref = ObjectRef(uri=f"file://{tmp_path}/a.jpg", etag=f"5-{status.st_mtime_ns}", size=5)
    (page,) = storage.list(str(tmp_path / "a.jpg"))
    assert page == Listing(objects=(ref,), cursor="a.jpg")
    assert storage.stat(ref.uri) == ref


def test_a_directory_is_walked_depth_first_by_the_bytes_of_its_names(storage, tmp_path):
    fill(tmp_path, "b/2", "b/10", "a", "c", "b.jpg", "é", "Z", "b/deep/er")
    expected = ["Z", "a", "b/10", "b/2", "b/deep/er", "b.jpg", "c", "é"]
    assert names(storage.list(str(tmp_path)), tmp_path) == expected
    assert names(storage.list(f"file://{tmp_path}"), tmp_path) == expected


def test_a_relative_source_lists_absolute_uris(storage, tmp_path, monkeypatch):
    fill(tmp_path, "here/a")
    monkeypatch.chdir(tmp_path / "here")
    for source in (".", "a", "../here", "./../here/a"):
        assert names(storage.list(source), tmp_path) == ["here/a"]


def test_dots_behind_a_link_lead_where_the_system_leads(storage, tmp_path, monkeypatch):
    fill(tmp_path, "far/away/x", "far/a", "here/x")
    (tmp_path / "here/link").symlink_to(tmp_path / "far/away")
    monkeypatch.chdir(tmp_path / "here")
    assert names(storage.list("link/../a"), tmp_path) == ["far/a"]


@pytest.mark.parametrize("name", [b"a b%20c#d?e&f=\xc3\xbc", b"not \xff text", b"new\nline", b"%"])
def test_any_file_name_comes_back_from_its_uri(storage, tmp_path, name):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.write_bytes(b"content")
    (page,) = storage.list(str(tmp_path))
    (ref,) = page.objects
    assert ref.uri.isascii()
    assert page.cursor.isascii()
    assert storage.stat(ref.uri) == ref
    with storage.open(ref) as reader:
        assert reader.read() == b"content"


def test_a_file_uri_need_only_encode_the_percent_sign(storage, tmp_path):
    fill(tmp_path, "a b#c?d%.jpg")
    pasted = f"file://{tmp_path}/a b#c?d%25.jpg"
    assert names(storage.list(pasted), tmp_path) == ["a b#c?d%.jpg"]


def test_pages_hold_a_thousand_entries_and_the_walk_waits_for_its_reader(
    storage, tmp_path, monkeypatch
):
    fill(tmp_path, *(f"{number:04}" for number in range(2 * PAGE_ENTRIES + 5)))
    looked_at = []
    look = local._look
    monkeypatch.setattr(
        local, "_look", lambda path, *more: looked_at.append(path) or look(path, *more)
    )
    listing = storage.list(str(tmp_path))
    first = next(listing)
    assert (len(first.objects), len(looked_at)) == (PAGE_ENTRIES, PAGE_ENTRIES)
    assert [len(page.objects) for page in listing] == [PAGE_ENTRIES, 5]


def test_a_listing_goes_on_behind_any_cursor(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "PAGE_ENTRIES", 1)
    fill(tmp_path, "a/b/c", "a/b/d", "a/b.x", "a/e/f", "a!", "b", "ü ü%")
    pages = list(storage.list(str(tmp_path)))
    whole = names(iter(pages), tmp_path)
    assert len(whole) == 7
    for done, page in enumerate(pages, start=1):
        rest = storage.list(str(tmp_path), after=page.cursor)
        assert names(rest, tmp_path) == whole[done:]


def test_a_listing_goes_on_when_the_file_at_its_cursor_is_gone(storage, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "PAGE_ENTRIES", 1)
    fill(tmp_path, "a/1", "a/2", "b")
    cursor = next(storage.list(str(tmp_path))).cursor
    shutil.rmtree(tmp_path / "a")
    assert names(storage.list(str(tmp_path), after=cursor), tmp_path) == ["b"]


def test_a_single_file_is_not_listed_again_behind_its_cursor(storage, tmp_path):
    fill(tmp_path, "a")
    (page,) = storage.list(str(tmp_path / "a"))
    assert list(storage.list(str(tmp_path / "a"), after=page.cursor)) == []


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.jpg", "thumbs/a.jpg", "thumbs/x.txt", "v/b.MP4"]),
        (("*.jpg",), (), ["a.jpg", "thumbs/a.jpg"]),
        (("*.jpg", "v/*"), ("thumbs/*",), ["a.jpg", "v/b.MP4"]),
        ((), ("*.txt", "a.jpg"), ["v/b.MP4"]),
        (("*.mp4",), (), []),
    ],
)
def test_patterns_choose_by_relative_path_or_name(storage, tmp_path, include, exclude, expected):
    fill(tmp_path, "a.jpg", "thumbs/a.jpg", "thumbs/x.txt", "v/b.MP4")
    assert (
        names(storage.list(str(tmp_path), include=include, exclude=exclude), tmp_path) == expected
    )


def test_an_empty_directory_lists_nothing(storage, tmp_path):
    assert list(storage.list(str(tmp_path))) == []


def test_what_is_no_regular_file_is_reported_and_never_opened(storage, tmp_path):
    fill(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "self").symlink_to("self")
    assert codes(storage.list(str(tmp_path)), tmp_path) == {
        "gone": "object_missing",
        "pipe": "unsupported_source",
        "self": "unsupported_source",
        "socket": "unsupported_source",
        "zero": "unsupported_source",
    }
    assert names(storage.list(str(tmp_path)), tmp_path) == ["a"]
    assert codes(storage.list(str(tmp_path), exclude=["*e*"]), tmp_path) == {}


def test_links_are_followed_but_not_in_circles(storage, tmp_path):
    fill(tmp_path, "a/b/x", "elsewhere/y")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/there").symlink_to(tmp_path / "elsewhere")
    listed = list(storage.list(str(tmp_path / "a")))
    assert names(iter(listed), tmp_path) == ["a/b/x", "a/there/y"]
    assert codes(iter(listed), tmp_path) == {"a/b/up": "unsupported_source"}


def test_directories_may_nest_deeper_than_calls(storage, tmp_path):
    fill(tmp_path, "/".join(["d"] * 300 + ["bottom"]))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        (page,) = storage.list(str(tmp_path))
    finally:
        sys.setrecursionlimit(limit)
    assert page.objects[0].uri.endswith("/d/bottom")


def test_an_unreadable_directory_is_reported_and_the_rest_is_listed(storage, public_dir):
    fill(public_dir, "a", "locked/b", "z")
    (public_dir / "locked").chmod(0o700)
    with ordinary_user():
        pages = list(storage.list(str(public_dir)))
        hidden = list(storage.list(str(public_dir), exclude=["locked"]))
        with pytest.raises(AccessDenied, match="locked may not be read"):
            next(storage.list(str(public_dir / "locked")))
    assert names(iter(pages), public_dir) == ["a", "z"]
    assert codes(iter(pages), public_dir) == {"locked": "access_denied"}
    assert codes(iter(hidden), public_dir) == {}


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("/nowhere/at/all", ObjectMissing),
        ("/dev/zero", UnsupportedSource),
        ("file://otherhost/a", UnsupportedSource),
        ("file:///a%00b", UnsupportedSource),
        ("a\0b", UnsupportedSource),
        ("", UnsupportedSource),
        ("/" + "x" * 300, UnsupportedSource),
        ("https://user:secret@host/a?token=secret", UnsupportedSource),
    ],
)
def test_a_source_that_cannot_be_listed_says_why(storage, source, error):
    with pytest.raises(error) as raised:
        next(storage.list(source))
    assert "secret" not in str(raised.value)


def test_a_name_that_is_no_text_is_encoded_in_the_sentence(storage, tmp_path):
    with pytest.raises(ObjectMissing, match=r"file:///.*/a%FF"):
        storage.stat(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))


# --- reading -------------------------------------------------------------------------------------


def test_reads_at_any_offset_and_hashes(storage, tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    with storage.open(storage.stat(str(tmp_path / "a"))) as reader:
        reader.seek(-7, os.SEEK_END)
        assert reader.read() == data[-7:]
        assert (reader.size, reader.bytes_read) == (len(data), 7)
        assert reader.sha256_if_known() is None
        assert reader.sha256() == hashlib.sha256(data).hexdigest()


def test_a_ref_with_nothing_but_a_uri_opens_what_is_there(storage, tmp_path):
    fill(tmp_path, "a")
    with storage.open(ObjectRef(uri=f"file://{tmp_path}/a")) as reader:
        assert reader.etag == storage.stat(str(tmp_path / "a")).etag
        assert reader.read() == b"a"


def test_an_empty_file_opens(storage, tmp_path):
    (tmp_path / "a").touch()
    with storage.open(storage.stat(str(tmp_path / "a"))) as reader:
        assert (reader.read(), reader.sha256()) == (b"", hashlib.sha256().hexdigest())


def test_an_unreadable_file_is_listed_and_denied_when_opened(storage, public_dir):
    fill(public_dir, "a")
    (public_dir / "a").chmod(0o600)
    with ordinary_user():
        (page,) = storage.list(str(public_dir))
        if os.geteuid() != NOBODY:
            (public_dir / "a").chmod(0)
        with pytest.raises(AccessDenied, match="may not be read"):
            storage.open(page.objects[0])


@pytest.mark.parametrize("disk_error", ["EIO", "ESTALE"])
def test_a_failing_disk_is_worth_another_try(storage, tmp_path, monkeypatch, disk_error):
    fill(tmp_path, "a")
    number = getattr(local.errno, disk_error)

    def broken(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    with storage.open(storage.stat(str(tmp_path / "a"))) as reader:
        monkeypatch.setattr(local.os, "pread", broken)
        with pytest.raises(StorageUnavailable):
            reader.read()


def test_a_file_that_vanished_is_missing(storage, tmp_path):
    fill(tmp_path, "a")
    ref = storage.stat(str(tmp_path / "a"))
    (tmp_path / "a").unlink()
    with pytest.raises(ObjectMissing):
        storage.open(ref)


def test_a_file_changed_after_its_listing_is_refused(storage, tmp_path):
    fill(tmp_path, "a")
    ref = storage.stat(str(tmp_path / "a"))
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(ObjectChanged, match="after it was listed"):
        storage.open(ref)


@pytest.mark.parametrize("new", [b"y" * 2000, b"y" * 5000, b""])
def test_a_file_changed_while_it_is_read_is_an_error_of_its_own(storage, tmp_path, new):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 2000)
    os.utime(path, ns=(0, 0))
    with storage.open(storage.stat(str(path))) as reader:
        assert reader.read(1000) == b"x" * 1000
        path.write_bytes(new)
        with pytest.raises(ObjectChanged, match="while it was being read"):
            reader.read()


def test_a_file_renamed_into_place_leaves_the_open_one_whole(storage, tmp_path):
    fill(tmp_path, "a", "new")
    with storage.open(storage.stat(str(tmp_path / "a"))) as reader:
        (tmp_path / "new").rename(tmp_path / "a")
        assert reader.read() == b"a"


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    storage = Storage(Settings(max_object_bytes=1000))
    with pytest.raises(FileTooLarge, match=r"1,099,511,627,776 bytes; the limit is 1,000"):
        storage.open(storage.stat(str(tmp_path / "big")))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/tty")])
def test_only_regular_files_are_opened(storage, tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(UnsupportedSource, match="only regular files"):
        storage.open(ObjectRef(uri=f"file://{tmp_path}/a"))


def test_a_pipe_that_takes_the_place_of_a_file_does_not_hang(storage, tmp_path, monkeypatch):
    fill(tmp_path, "a")
    ref = storage.stat(str(tmp_path / "a"))
    (tmp_path / "a").unlink()
    os.mkfifo(tmp_path / "a")
    monkeypatch.setattr(local, "_stat_file", lambda path: None)
    with pytest.raises(UnsupportedSource, match="named pipe"):
        storage.open(ref)


def test_an_open_that_fails_leaves_no_descriptor_behind(storage, tmp_path):
    fill(tmp_path, "a")
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(5):
        with pytest.raises(ObjectChanged):
            storage.open(ObjectRef(uri=f"file://{tmp_path}/a", etag="other"))
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_a_file_is_deleted_and_its_folder_with_the_last_one(storage, tmp_path):
    first, second = tmp_path / "faces" / "a#.png", tmp_path / "faces" / "b.png"
    fill(tmp_path, "faces/a#.png", "faces/b.png")
    storage.delete([local.uri_of(first)])
    assert [path.name for path in first.parent.iterdir()] == ["b.png"]
    storage.delete([local.uri_of(first), str(second), str(second / "below")])
    assert not first.parent.exists()
    assert tmp_path.exists()


def test_what_is_no_file_is_not_deleted(storage, tmp_path):
    fill(tmp_path, "folder/a")
    with pytest.raises((AccessDenied, StorageUnavailable), match="folder"):
        storage.delete([str(tmp_path / "folder")])
    assert (tmp_path / "folder" / "a").exists()
