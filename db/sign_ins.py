"""Who is signed in to the pages: a cookie that stands for an API key, for a working day at most.

What is stored is the SHA-256 of the cookie; it carries 256 random bits and needs no slow hash, as
`db.keys` explains. The key decides at every request: once it is revoked or past its time, every
browser that was signed in with it is out.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from db import audit, keys
from db.keys import KeyRecord
from db.tables import SignIn

#: A cookie works for so long, used or not: a reviewer signs in once a day.
VALID_S = 12 * 3600.0
STARTED, ENDED = "sign_in.started", "sign_in.ended"
#: Rows of cookies that are long dead are deleted; the audit events stay.
_KEPT = timedelta(days=30)
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A browser that is signed in."""

    id: int
    key: KeyRecord


def start(session: Session, key: KeyRecord, *, valid_s: float = VALID_S) -> str:
    """Sign a browser in; the value of its cookie, which nobody can ask for again."""
    token = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    until = func.now() + timedelta(seconds=valid_s)
    row_id = session.execute(
        insert(SignIn)
        .values(token_sha256=_digest(token), api_key_id=key.id, expires_at=until)
        .returning(SignIn.id)
    ).scalar_one()
    _note(session, STARTED, row_id, key)
    session.execute(delete(SignIn).where(SignIn.expires_at < func.now() - _KEPT))
    return token


def find(session: Session, token: str) -> SignedIn | None:
    """Whom a cookie stands for; None where it or its key has ended."""
    if not _FORM.fullmatch(token):
        return None
    row = session.execute(
        select(SignIn.id, SignIn.api_key_id).where(
            SignIn.token_sha256 == _digest(token),
            SignIn.ended_at.is_(None),
            SignIn.expires_at > func.now(),
        )
    ).one_or_none()
    key = None if row is None else keys.valid(session, row.api_key_id)
    return None if row is None or key is None else SignedIn(id=row.id, key=key)


def end(session: Session, signed_in: SignedIn) -> None:
    """Sign a browser out; its cookie opens nothing any more."""
    session.execute(update(SignIn).where(SignIn.id == signed_in.id).values(ended_at=func.now()))
    _note(session, ENDED, signed_in.id, signed_in.key)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _note(session: Session, action: str, row_id: int, key: KeyRecord) -> None:
    audit.record(
        session,
        actor=key.name,
        api_key_id=key.id,
        action=action,
        subject_kind="sign_in",
        subject_id=row_id,
    )
