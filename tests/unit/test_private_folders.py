"""Folders that hold faces, secrets and sockets are this account's alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import signing
from core.objects import local
from core.objects.sink import Sinks
from core.settings import Settings
from db import keeper


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_every_folder_that_had_to_be_made_is_private(tmp_path: Path) -> None:
    local.make_private(tmp_path / "data" / "sets" / "press")
    made = [tmp_path / "data", tmp_path / "data/sets", tmp_path / "data/sets/press"]
    assert [rights(each) for each in made] == [0o700] * 3


def test_a_folder_that_is_there_stays_as_its_owner_made_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    local.make_private(shared / "data")
    assert rights(shared) == 0o750


def test_a_kept_face_and_the_folders_to_it_are_private(tmp_path: Path) -> None:
    place = tmp_path / "data" / "crops" / "000000000" / "face.png"
    sink = Sinks(Settings(data_dir=tmp_path / "data")).open(local.uri_of(place))
    sink.write(b"png")
    sink.finish()
    assert rights(place) == 0o600
    assert {rights(each) for each in (tmp_path / "data", *list(place.parents)[:2])} == {0o700}


def test_the_signing_secret_is_private(tmp_path: Path) -> None:
    signing.secret(Settings(data_dir=tmp_path / "data"))
    assert rights(tmp_path / "data") == 0o700
    assert rights(tmp_path / "data" / "signing.secret") == 0o600


def test_a_socket_folder_is_made_once_and_used_again(tmp_path: Path) -> None:
    for _ in range(2):
        keeper.private_folder(tmp_path / "run", {os.geteuid()})
    assert rights(tmp_path / "run") == 0o700


def test_a_link_in_the_place_of_a_socket_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="another account, or is a link"):
        keeper.private_folder(tmp_path / "run", {os.geteuid()})


def test_a_socket_folder_of_another_account_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(PermissionError, match="another account"):
        keeper.private_folder(tmp_path / "run", {os.geteuid() + 1})
