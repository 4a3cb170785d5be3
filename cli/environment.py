"""Settings as commands read them: once, with a sentence for what is wrong."""

from __future__ import annotations

from pydantic import ValidationError

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
