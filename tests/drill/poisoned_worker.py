"""`deepsweep worker`, in which some media are deadly.

No file that we have crashes a decoder any more, so the deed is done for it: at one kind of file
the helper gets the signal that a crash would have brought, at another kind the worker does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

from detector.helper import Helper

#: At the end of a file, which decoders do not look at.
KILLS_DECODER = b"#deadly-for-its-decoder"
KILLS_WORKER = b"#deadly-for-its-worker"


def main() -> None:
    """Run a worker."""
    decode = Helper.decode

    def deadly(self: Helper, file: Any, *args: Any, **options: Any) -> Generator[Any, None, None]:
        file.seek(-len(KILLS_DECODER), os.SEEK_END)
        end = file.read(len(KILLS_DECODER))
        if end.endswith(KILLS_WORKER):
            os.kill(os.getpid(), signal.SIGKILL)
        if end == KILLS_DECODER:
            os.kill(self.pid, signal.SIGSEGV)
        yield from decode(self, file, *args, **options)

    Helper.decode = deadly  # type: ignore[method-assign]
    from deepsweep import cli

    cli(["worker"])


if __name__ == "__main__":
    main()
