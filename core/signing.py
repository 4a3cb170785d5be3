"""One secret of the deployment, and the keys that are derived from it.

Links to media and callbacks are signed. Each purpose, and each receiver of callbacks, has a key of
its own, derived from the one secret with HMAC: nothing more has to be stored, a key that leaks
says nothing about the others, and a copy of the database holds none of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from core.errors import UsageError
from core.objects import local
from core.settings import Settings

_FILE = "signing.secret"
_SHORTEST = 16


def secret(settings: Settings) -> bytes:
    """The deployment's secret: the one that is set, else one drawn once and kept in a file.

    A file serves one machine; several share `DEEPSWEEP_SIGNING_SECRET`. Raises UsageError where
    that is too short to be one.
    """
    if settings.signing_secret is None:
        return _kept(settings.data_dir / _FILE)
    given = settings.signing_secret.get_secret_value().encode()
    if len(given) < _SHORTEST:
        raise UsageError(
            f"DEEPSWEEP_SIGNING_SECRET has fewer than {_SHORTEST} characters; draw one with "
            "`openssl rand -hex 32`."
        )
    return given


def derived(secret: bytes, purpose: str) -> bytes:
    """The 32-byte key of one purpose, e.g. `media-link` or `callback:7`."""
    return hmac.digest(secret, f"deepsweep:{purpose}".encode(), "sha256")


def callback_secret(secret: bytes, api_key_id: int | None) -> str:
    """What callbacks of one API key's scans are signed with; its owner verifies them by it."""
    return f"whsec_{derived(secret, f'callback:{api_key_id or 0}').hex()}"


def signature(key: bytes, moment_s: int, body: bytes) -> str:
    """HMAC-SHA-256 of `<moment_s>.<body>`, hexadecimal; the moment is Unix time."""
    return hmac.new(key, b"%d." % moment_s + body, hashlib.sha256).hexdigest()


def _kept(path: Path) -> bytes:
    """Made aside and linked into place, so that two processes end with the same secret."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    local.make_private(path.parent)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_hex(32).encode())
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(fresh)
    fresh.unlink()
    return path.read_bytes()
