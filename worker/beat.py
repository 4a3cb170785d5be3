"""Beat: asks every few seconds for a look at what is left lying."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

from celery.beat import Service

from core import queue
from core.settings import Settings

#: Between two looks at the schedule.
_TICK_S = 1.0


def main(settings: Settings) -> None:
    """Send what is due until SIGTERM or SIGINT.

    Celery's scheduler without its file: the schedule is in the code, and what was sent last does
    not matter, since every turn finds for itself what there is to do.
    """
    app = queue.make_app(settings)
    # The first turn of the schedule comes after a period; after a long pause somebody waits for it.
    queue.hint(app, queue.RECONCILE)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    Service(app, max_interval=_TICK_S, scheduler_cls=app.conf.beat_scheduler).start()


def _leave(_: int, __: FrameType | None) -> NoReturn:
    # By an exception, because a scheduler without Redis waits for it and looks at nothing else.
    sys.exit(0)
