"""What a machine that trains tidies up in its own folders, beside the work."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from core.errors import TransientError
from core.settings import Settings
from db import run_copies
from db.session import Database

_log = logging.getLogger(__name__)

#: How long copies of an erased face may lie in the folder of a run, once its trainer has left it.
EVERY_S = 30.0


class Tidying:
    """While the block lasts, copies of faces that were erased elsewhere go from runs' folders.

    A thread of its own and no message: the folders are of this machine, and a message would find
    any.
    """

    def __init__(self, database: Database, settings: Settings, *, every_s: float = EVERY_S) -> None:
        """Begins with the block."""
        self._database = database
        self._data_dir = settings.data_dir
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tidying", daemon=True)

    def __enter__(self) -> Tidying:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                removed = run_copies.tidy(self._database, self._data_dir)
            except (TransientError, OSError) as error:
                _log.warning("copies_not_tidied", extra={"why": type(error).__name__})
                continue
            if removed:
                _log.info("copies_tidied", extra={"removed": removed})
