"""One way to write a JSON value, so that equal values have equal digests."""

from __future__ import annotations

import hashlib
import json


def canonical_sha256(value: object) -> bytes:
    """SHA-256 of a JSON value, the same for every order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).digest()
