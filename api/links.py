"""Short-lived links to the bytes of items and faces: what a page shows in <img> and <video>.

Pictures and films on a page are asked for without the API key, which pages cannot send along. So a
caller who may see an item is given a link that carries its own permission: the item, a time limit,
and a signature over both. It opens that one item, for minutes, and says nothing about the key.
Each kind of thing has a key of its own: a link to item 7 is none to crop 7. Links of the review
pages open only in the browser session that they were made for, and end with it.
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass

from core import signing
from core.errors import LinkExpired
from core.settings import Settings

#: Long enough to look at a film once, short enough to be worth little in a log.
VALID_S = 600
_TOKEN = re.compile(r"(?P<item>[1-9][0-9]{0,18})\.(?P<until>[0-9]{1,12})\.(?P<sign>[0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link."""

    #: Path of this service.
    path: str
    #: Unix time.
    until_s: int


class Links:
    """Makes and reads links. Made once per process; thread safe."""

    def __init__(self, settings: Settings, *, kind: str = "media", path: str = "/media/") -> None:
        """Reads or draws the deployment's secret. Raises UsageError where that is too short.

        Links to things of that kind begin with `path`.
        """
        self._key = signing.derived(signing.secret(settings), f"{kind}-link")
        self._path = path

    def make(
        self, item_id: int, *, session_id: int | None = None, now_s: float | None = None
    ) -> Link:
        """A link to an item's bytes, valid for VALID_S or a little longer.

        With the number of a session it opens for that one alone.

        Links that are made within a minute of each other are equal, so that browsers need not load
        the same picture twice.
        """
        moment = time.time() if now_s is None else now_s
        until_s = int(moment // 60 + 1) * 60 + VALID_S
        return Link(
            path=f"{self._path}{item_id}.{until_s}.{self._sign(item_id, until_s, session_id)}",
            until_s=until_s,
        )

    def item_of(
        self, token: str, *, session_id: int | None = None, now_s: float | None = None
    ) -> int:
        """The item that a link opens, for the session that asks.

        Raises LinkExpired, also for one that was not made here or for another session.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise LinkExpired("This is not a link that was given out here.")
        item_id, until_s = int(match["item"]), int(match["until"])
        if not hmac.compare_digest(match["sign"], self._sign(item_id, until_s, session_id)):
            raise LinkExpired("This is not a link that was given out here.")
        if until_s < (time.time() if now_s is None else now_s):
            raise LinkExpired("The link is past its time; ask for a new one.")
        return item_id

    def _sign(self, item_id: int, until_s: int, session_id: int | None) -> str:
        bound = b"" if session_id is None else b" session:%d" % session_id
        return signing.signature(self._key, until_s, b"item:%d%b" % (item_id, bound))
