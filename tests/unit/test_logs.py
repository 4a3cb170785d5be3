"""Logs: one JSON object a line, and no secrets of a URI."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core import logs
from core.errors import UsageError


@contextmanager
def logging_set_up() -> Iterator[list[dict[str, Any]]]:
    """Logging as an entry point sets it up; afterwards the list holds the lines written."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    lines: list[dict[str, Any]] = []
    with redirect_stderr(io.StringIO()) as stream:
        logs.configure("info")
        yield lines
        root.handlers[:] = handlers
        root.setLevel(level)
    lines.extend(json.loads(line) for line in stream.getvalue().splitlines())


def test_a_record_is_one_line_with_its_event_and_fields():
    with logging_set_up() as lines:
        logging.getLogger("worker").info("item done", extra={"item_id": 7, "faces": [1, 2]})
    (line,) = lines
    assert datetime.fromisoformat(line.pop("at")).tzinfo is not None
    assert line == {
        "level": "info",
        "logger": "worker",
        "event": "item done",
        "item_id": 7,
        "faces": [1, 2],
    }


def test_records_below_the_level_are_not_written():
    with logging_set_up() as lines:
        logging.getLogger("worker").debug("details")
    assert lines == []


def test_setting_up_twice_does_not_write_twice():
    with logging_set_up() as lines:
        logs.configure("info")
        logging.getLogger("worker").info("once")
    assert len(lines) == 1


def test_an_exception_is_a_field_of_the_same_line():
    with logging_set_up() as lines:
        try:
            raise KeyError("lost")
        except KeyError:
            logging.getLogger("worker").exception("item failed")
    (line,) = lines
    assert line["exception"].splitlines()[-1] == "KeyError: 'lost'"


def test_a_value_that_json_does_not_know_is_written_as_text():
    with logging_set_up() as lines:
        logging.getLogger("worker").info("kept", extra={"where": Path("/a")})
    assert lines[0]["where"] == "/a"


def test_fields_that_are_uris_lose_their_secrets():
    with logging_set_up() as lines:
        logging.getLogger("worker").info(
            "fetched", extra={"source_uri": "https://me:pw@host:8443/a/b.jpg?signature=s#f"}
        )
    assert lines[0]["source_uri"] == "https://host:8443/a/b.jpg"


@pytest.mark.parametrize(
    ("uri", "safe"),
    [
        ("s3://bucket/a b.jpg?versionId=1", "s3://bucket/a b.jpg"),
        ("https://me:pw@host/a", "https://host/a"),
        ("file:///a/b%20c.jpg", "file:///a/b%20c.jpg"),
        ("/plain/path?x", "/plain/path?x"),
        ("relative", "relative"),
        ("https://me:p@w@host:port/a", "https://host:port/a"),
        ("s3://[bucket/a.jpg", "(not a URI)"),
    ],
)
def test_a_safe_uri_keeps_what_names_the_object(uri, safe):
    assert logs.safe_uri(uri) == safe


def test_details_asked_for_do_not_include_those_of_clients_that_write_signatures():
    with logging_set_up() as lines:
        logs.configure("debug")
        logging.getLogger("botocore.auth").debug("StringToSign:\nAWS4-HMAC-SHA256")
        logging.getLogger("urllib3.connectionpool").debug('"GET /a?X-Amz-Signature=1" 200')
        logging.getLogger("worker").debug("details")
    assert [line["event"] for line in lines] == ["details"]


def test_a_level_that_there_is_not_is_wrong_usage():
    with pytest.raises(UsageError, match="'loud' is no level of logs"):
        logs.configure("loud")
