"""How errors reach a terminal: a sentence on stderr and exit code 1, never a trace."""

from __future__ import annotations

from typing import Any

import click

from registry.errors import UnderstudyError


class Command(click.Command):
    """A click command whose UnderstudyErrors are sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; click shows the sentence and exits with 1."""
        try:
            return super().invoke(ctx)
        except UnderstudyError as error:
            raise click.ClickException(str(error)) from None
