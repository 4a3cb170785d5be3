"""`deepsweep keys`: what a person types, and what then works over HTTP."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from core import signing
from core.vocabulary import Scope
from db import keys
from db.tables import ApiKey, AuditEvent
from deepsweep import cli


@pytest.fixture
def typed(api_settings, database_url, monkeypatch):
    """Runs a command of `deepsweep keys`."""
    monkeypatch.setenv("DEEPSWEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("DEEPSWEEP_DATA_DIR", str(api_settings.data_dir))
    monkeypatch.setenv("DEEPSWEEP_SIGNING_SECRET", "a secret of the tests alone")

    def run(*words: str):
        return CliRunner().invoke(cli, ["keys", *words])

    return run


def test_a_made_key_works_and_is_shown_once(typed, api_keys, database, api_settings):
    made = typed("create", "desk", "--scope", "read", "--source", "s3://press/", "--days", "30")
    token = made.stdout.strip()
    assert made.exit_code == 0, made.stderr
    assert api_keys.anonymous(Authorization=f"Bearer {token}").get("/v1/scans").status_code == 200
    with database.transaction() as session:
        [row] = session.scalars(select(ApiKey))
        [event] = session.scalars(select(AuditEvent))
    assert (row.name, row.scopes, row.sources) == ("desk", ["read"], ["s3://press/"])
    assert (row.expires_at - row.created_at).days in (29, 30)
    assert token.encode() not in row.secret_sha256
    assert (event.action, event.subject_id) == ("key.created", row.prefix)
    # What verifies its callbacks is told beside it.
    secret = signing.callback_secret(signing.secret(api_settings), row.id)
    assert secret in made.stderr
    assert token not in typed("list").stdout + typed("list", "--json").stdout


def test_a_made_key_can_be_had_as_json(typed, api_keys):
    made = typed("create", "desk", "--scope", "read", "--json")
    told = json.loads(made.stdout)
    assert (told["name"], told["scopes"], made.stderr) == ("desk", ["read"], "")
    assert told["callback_secret"].startswith("whsec_")
    with api_keys.anonymous(Authorization=f"Bearer {told['key']}") as client:
        assert client.get("/v1/scans").status_code == 200


def test_a_list_says_what_each_key_may(typed, database):
    with database.transaction() as session:
        keys.create(session, name="old\x1b[31m", scopes=[Scope.ADMIN])
        keys.create(session, name="new", scopes=[Scope.SCAN, Scope.READ], sources=["s3://a1/"])
    table, listed = typed("list").stdout, json.loads(typed("list", "--json").stdout)
    assert [key["name"] for key in listed] == ["new", "old\x1b[31m"]
    assert (listed[0]["scopes"], listed[0]["sources"]) == (["read", "scan"], ["s3://a1/"])
    assert "uploads only" in table
    assert "\x1b[31m" not in table


def test_a_revoked_key_works_no_more(typed, api_keys, database):
    record, token = api_keys.make(Scope.READ)
    assert typed("revoke", record.prefix).exit_code == 0
    assert api_keys.anonymous(Authorization=f"Bearer {token}").get("/v1/scans").status_code == 401
    assert "revoked" in typed("list").stdout
    again = typed("revoke", record.prefix)
    assert again.exit_code == 0, "revoking twice does no harm"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("create", "desk"), 2),
        (("create", "desk", "--scope", "everything"), 2),
        (("create", "desk", "--scope", "scan", "--source", "/data"), 2),
        (("create", "desk", "--scope", "scan", "--per-minute", "0"), 2),
        (("revoke", "nobody"), 1),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_made(typed, database, words, status):
    assert typed(*words).exit_code == status
    with database.transaction() as session:
        assert keys.listed(session) == []
