"""Keys of the API: made once, shown once, and known afterwards by their hash alone.

A key is `dsk_<prefix>_<secret>`. The prefix is public: it names the key in lists and finds its row.
The secret is 32 random bytes and a checksum, in the letters of URLs; the checksum lets a mistyped
or invented key be refused without asking the database, and lets scanners for leaked secrets tell
keys from noise.

What is stored is the SHA-256 of the whole key. Slow, salted hashes protect passwords, which are
guessed from dictionaries; 256 random bits are in no dictionary, so a fast hash gives nothing away,
and every request can afford it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.vocabulary import Scope
from db.tables import ApiKey

_PREFIX_LENGTH = 10
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_FORM = re.compile(
    rf"dsk_(?P<prefix>[{_LETTERS}]{{{_PREFIX_LENGTH}}})_(?P<secret>[\w-]{{48}})", re.A
)
#: `last_used_at` is written at most this often for a key.
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class KeyRecord:
    """One key as it stands; nothing here opens anything."""

    id: int
    prefix: str
    #: Whose key it is.
    name: str
    scopes: frozenset[Scope]
    #: Prefixes that it may have scanned.
    sources: tuple[str, ...]
    requests_per_minute: int
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    #: To the minute.
    last_used_at: datetime | None


def create(
    session: Session,
    *,
    name: str,
    scopes: Collection[Scope],
    sources: Sequence[str] = (),
    requests_per_minute: int = 600,
    expires_at: datetime | None = None,
) -> tuple[KeyRecord, str]:
    """A new key: its row, and the key itself, which nobody can ask for again."""
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(_PREFIX_LENGTH))
    token = _token(prefix, secrets.token_bytes(32))
    row = session.execute(
        insert(ApiKey)
        .values(
            prefix=prefix,
            secret_sha256=_digest(token),
            name=name,
            scopes=sorted(scopes),
            sources=list(sources),
            requests_per_minute=requests_per_minute,
            expires_at=expires_at,
        )
        .returning(*_COLUMNS)
    ).one()
    return _record(row), token


def is_well_formed(token: str) -> bool:
    """Whether this can be a key at all, by its form and checksum."""
    match = _FORM.fullmatch(token)
    if match is None:
        return False
    secret = base64.urlsafe_b64decode(match["secret"])
    return hmac.compare_digest(token, _token(match["prefix"], secret[:32]))


def authenticate(session: Session, token: str) -> KeyRecord | None:
    """The valid key that this is; None for one that is unknown, revoked or past its time."""
    match = _FORM.fullmatch(token)
    if match is None:
        return None
    row = session.execute(
        select(*_COLUMNS, ApiKey.secret_sha256, _NOT_SEEN_LATELY.label("is_stale")).where(
            ApiKey.prefix == match["prefix"], *_VALID
        )
    ).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_sha256, _digest(token)):
        return None
    if row.is_stale:
        _note_use(session, row.id)
    return _record(row)


def valid(session: Session, key_id: int) -> KeyRecord | None:
    """The key of that row; None where it is revoked or past its time."""
    row = session.execute(
        select(*_COLUMNS, _NOT_SEEN_LATELY.label("is_stale")).where(ApiKey.id == key_id, *_VALID)
    ).one_or_none()
    if row is None:
        return None
    if row.is_stale:
        _note_use(session, row.id)
    return _record(row)


def listed(session: Session) -> list[KeyRecord]:
    """All keys, the newest first; there are as many as somebody has made by hand."""
    rows = session.execute(select(*_COLUMNS).order_by(ApiKey.created_at.desc(), ApiKey.id.desc()))
    return [_record(row) for row in rows]


def revoke(session: Session, prefix: str) -> KeyRecord:
    """Take a key back, by its public prefix; once revoked it stays so. Raises NotFound."""
    row = session.execute(
        update(ApiKey)
        .where(ApiKey.prefix == prefix)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
        .returning(*_COLUMNS)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no key {prefix!r}; `deepsweep keys list` shows them all.")
    return _record(row)


# --- helpers ------------------------------------------------------------------------------------

_COLUMNS = [getattr(ApiKey, name) for name in KeyRecord.__dataclass_fields__]
_VALID = (
    ApiKey.revoked_at.is_(None),
    or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
)
_NOT_SEEN_LATELY = or_(
    ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _SEEN_EVERY
)


def _record(row: Any) -> KeyRecord:
    fields = {name: row._mapping[name] for name in KeyRecord.__dataclass_fields__}
    scopes = frozenset(Scope(word) for word in row.scopes)
    return KeyRecord(**fields | {"scopes": scopes, "sources": tuple(row.sources)})


def _token(prefix: str, secret: bytes) -> str:
    checksum = zlib.crc32(prefix.encode() + secret).to_bytes(4, "big")
    return f"dsk_{prefix}_{base64.urlsafe_b64encode(secret + checksum).decode()}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _note_use(session: Session, key_id: int) -> None:
    """One write a minute and key: the row is not to become the hottest of the database."""
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, _NOT_SEEN_LATELY)
        .values(last_used_at=func.date_trunc("minute", func.now())),
        execution_options={"synchronize_session": False},
    )
