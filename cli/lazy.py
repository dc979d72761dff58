"""Groups that know their commands by name and import one only to run it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """Imports `PREFIX.NAME` when that command is run or asked for help."""

    prefix = ""
    known: Mapping[str, str] = {}
    """Each command's short help, by name, in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of their use."""
        return list(self.known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in self.known:
            return None
        command: click.Command = importlib.import_module(f"{self.prefix}{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.known.items()))


def lazy(prefix: str, known: Mapping[str, str]) -> type[LazyGroup]:
    """The class of a group whose commands are the modules `prefix` + NAME."""
    return type("LazyGroup", (LazyGroup,), {"prefix": prefix, "known": known})
