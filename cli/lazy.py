"""A click group that knows its commands by name and imports one only when it is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from core.errors import DeepsweepError, UnsupportedSource, UsageError

#: Exit statuses of every command.
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

#: Set to 1 to see tracebacks.
DEBUG_VARIABLE = "DEEPSWEEP_DEBUG"


@dataclass(frozen=True, kw_only=True)
class LazyCommand:
    """Where a command lives, and the sentence that `--help` of the group shows for it.

    The sentence stands here so that listing the commands imports none of them.
    """

    module: str
    attribute: str
    help: str

    def load(self) -> click.Command:
        """Import the command's module and take the command from it."""
        command = getattr(import_module(self.module), self.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.module}.{self.attribute} is not a click command")
        return command


class SentenceGroup(click.Group):
    """A group whose help shows the first sentence of each command as a whole; click cuts it off."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, _sentence(found)) for name, found in commands if found and not found.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _sentence(command: click.Command) -> str:
    return command.get_short_help_str(limit=1000)


class LazyGroup(click.Group):
    """Commands by name, imported on use; errors become one sentence and an exit status."""

    def __init__(self, *, lazy: Mapping[str, LazyCommand], **options: Any) -> None:
        super().__init__(**options)
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.lazy.get(cmd_name)
        return entry.load() if entry else super().get_command(ctx, cmd_name)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's own signature
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.lazy.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeepsweepError as error:
            _explain(f"{error} [{error.code}]")
            ctx.exit(EXIT_USAGE if isinstance(error, _WRONG_USAGE) else EXIT_FAILED)
        except KeyboardInterrupt:
            _explain("Interrupted.")
            ctx.exit(EXIT_INTERRUPTED)
        except _NOT_OURS:
            raise
        except Exception as error:  # noqa: BLE001 - the edge to a person: a sentence, no traceback
            _explain(f"Unexpected {type(error).__name__}: {error} [internal_error]")
            click.echo(f"Run again with {DEBUG_VARIABLE}=1 to see where.", err=True)
            ctx.exit(EXIT_FAILED)


#: What is wrong with the command as it was typed, so that nothing was tried.
_WRONG_USAGE = (UsageError, UnsupportedSource)

#: What click itself turns into messages and exit statuses.
_NOT_OURS: tuple[type[BaseException], ...] = (
    click.ClickException,
    click.exceptions.Exit,
    click.Abort,
    BrokenPipeError,
)


def _explain(sentence: str) -> None:
    if os.environ.get(DEBUG_VARIABLE) == "1":
        raise sys.exception() or RuntimeError(sentence)
    click.echo(f"deepsweep: {sentence}", err=True)
