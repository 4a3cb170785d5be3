"""The environment as commands read it: once, with a sentence for what is wrong."""

from __future__ import annotations

import os

from pydantic import ValidationError

from core import logs
from core.errors import UsageError
from core.settings import Settings


def read_settings(device: str | None = None) -> Settings:
    """Settings from the environment; `device` wins over it. Raises UsageError.

    The message names variables and rules, never values: those may be passwords.
    """
    try:
        return Settings() if device is None else Settings(device=device)
    except ValidationError as error:
        wrong = "; ".join(
            f"DEEPSWEEP_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise UsageError(f"The settings cannot be used. {wrong}.") from None


def set_up_logs(default: str) -> None:
    """Logs as DEEPSWEEP_LOG_LEVEL wants them, else from `default` on. Raises UsageError."""
    logs.configure(os.environ.get("DEEPSWEEP_LOG_LEVEL") or default)
