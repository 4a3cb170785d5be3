"""What a machine that trains tidies up in its own folders, beside the work."""

from __future__ import annotations

import logging

from core.errors import TransientError
from core.settings import Settings
from core.ticker import Ticker
from db import run_copies
from db.session import Database

_log = logging.getLogger(__name__)

#: How long copies of an erased face may lie in the folder of a run, once its trainer has left it.
EVERY_S = 30.0


def tidying(database: Database, settings: Settings, *, every_s: float = EVERY_S) -> Ticker:
    """While its block lasts, copies of faces that were erased elsewhere go from runs' folders.

    A thread of its own and no message: the folders are of this machine, and a message would find
    any.
    """

    def tidy() -> bool:
        try:
            removed = run_copies.tidy(database, settings.data_dir)
        except (TransientError, OSError) as error:
            _log.warning("copies_not_tidied", extra={"why": type(error).__name__})
            return True
        if removed:
            _log.info("copies_tidied", extra={"removed": removed})
        return True

    return Ticker(tidy, name="tidying", period_s=every_s)
