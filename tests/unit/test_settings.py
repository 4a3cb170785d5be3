"""Settings: from the environment, checked, and silent about secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.settings import Settings


def test_every_field_reads_its_variable(monkeypatch):
    monkeypatch.setenv("DEEPSWEEP_S3_ATTEMPTS", "7")
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", "/var/lib/deepsweep")
    monkeypatch.setenv("DEEPSWEEP_SOMETHING_OF_A_LATER_VERSION", "1")
    settings = Settings()
    assert (settings.s3_attempts, settings.data_dir) == (7, Path("/var/lib/deepsweep"))


def test_without_any_variable_there_are_defaults_for_one_machine(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DEEPSWEEP_{name.upper()}", raising=False)
    settings = Settings()
    assert (settings.database_url, settings.redis_url, settings.s3_endpoint_url) == (None,) * 3
    assert settings.device == "auto"


def test_secrets_do_not_show(monkeypatch):
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", "postgresql://user:hunter2@host/db")
    monkeypatch.setenv("DEEPSWEEP_REDIS_URL", "redis://:hunter2@host/0")
    settings = Settings()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://user:hunter2@host/db"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("s3_attempts", 0),
        ("s3_read_timeout_s", 0),
        ("max_object_bytes", -1),
        ("min_face_confidence", 1.5),
        ("detect_side_px", 10),
        ("frame_batch", 0),
        ("max_attempts", 101),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Settings(**{field: value})


def test_settings_do_not_change_once_read():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().s3_attempts = 2
