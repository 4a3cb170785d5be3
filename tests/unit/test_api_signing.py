"""The deployment's secret, and what is derived from it."""

from __future__ import annotations

import stat
import threading

import pytest
from pydantic import SecretStr

from core import signing
from core.errors import UsageError
from core.settings import Settings


def test_a_secret_is_drawn_once_and_kept_for_its_owner_alone(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    first = signing.secret(settings)
    assert signing.secret(settings) == first
    assert len(first) == 64
    [file] = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_processes_that_start_together_share_one_secret(tmp_path):
    settings, found = Settings(data_dir=tmp_path), []
    barrier = threading.Barrier(8)

    def look() -> None:
        barrier.wait()
        found.append(signing.secret(settings))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_a_secret_that_is_set_wins(tmp_path):
    settings = Settings(data_dir=tmp_path, signing_secret=SecretStr("sixteen letters."))
    assert signing.secret(settings) == b"sixteen letters."
    assert list(tmp_path.iterdir()) == []


def test_a_short_secret_is_refused_without_being_repeated(tmp_path):
    settings = Settings(data_dir=tmp_path, signing_secret=SecretStr("hunter2"))
    with pytest.raises(UsageError) as refused:
        signing.secret(settings)
    assert "hunter2" not in str(refused.value)


def test_each_purpose_and_each_key_has_a_secret_of_its_own():
    secrets = {
        signing.derived(b"secret", "media-link").hex(),
        signing.derived(b"secret", "callback:1").hex(),
        *(signing.callback_secret(b"secret", key_id) for key_id in (None, 1, 2)),
        signing.callback_secret(b"another", 1),
    }
    assert len(secrets) == 6


def test_a_signature_covers_moment_and_body():
    signatures = {
        signing.signature(b"k", 1, b"2.body"),
        signing.signature(b"k", 12, b".body"),
        signing.signature(b"k", 1, b"body"),
        signing.signature(b"other", 1, b"body"),
    }
    assert len(signatures) == 4
