"""Options that several commands have, each written once: a word means the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from core.vocabulary import DEFAULT_PLAN

#: What a decorator is given and gives back, as click types it.
Function = TypeVar("Function", bound=Callable[..., Any] | click.Command)

#: Where something is written that need not be there yet.
FOLDER = click.Path(file_okay=False, path_type=Path)
#: Where something is read.
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


class Device(click.ParamType):
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value as it is, or wrong usage."""
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is None:
            self.fail(f"{value!r} is none of auto, cpu, cuda and cuda:N.", param, ctx)
        return value


def json_flag(says: str = "Print JSON instead of tables.") -> Callable[[Function], Function]:
    """--json, as `as_json`: what is printed is for programs."""
    return click.option("--json", "as_json", is_flag=True, help=says)


def device(default: str | None = None) -> Callable[[Function], Function]:
    """--device; without a default the settings decide."""
    return click.option(
        "--device",
        type=Device(),
        metavar="NAME",
        default=default,
        show_default=default is not None,
        help="auto, cpu, cuda or cuda:N.",
    )


def frames(default: str = str(DEFAULT_PLAN)) -> Callable[[Function], Function]:
    """--frames, as `plan`: a sampling plan's text."""
    return click.option(
        "--frames",
        "plan",
        metavar="PLAN",
        default=default,
        show_default=True,
        help="Which frames of a video are looked at: uniform:N, every:SECONDS, random:N[:SEED], "
        "keyframes:N or adaptive:FIRST-MOST, which takes more frames only while it is uncertain.",
    )


def quiet(
    says: str = "No progress and no table; errors still show.",
) -> Callable[[Function], Function]:
    """--quiet."""
    return click.option("--quiet", "-q", is_flag=True, help=says)


def threads() -> Callable[[Function], Function]:
    """--threads of a training."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Of the network's arithmetic on a CPU.",
    )


def workers(default: int) -> Callable[[Function], Function]:
    """--workers of a training."""
    return click.option(
        "--workers",
        type=click.IntRange(min=0),
        default=default,
        show_default=True,
        help="Processes that prepare batches; 0 for none.",
    )
