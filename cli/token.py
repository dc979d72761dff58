"""`understudy token`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy token website")
@click.argument("name")
@click.option("--admin", is_flag=True, help="It may also decide: roll back, refresh.")
@click.option("--remove", is_flag=True, help="Take the token of this name away.")
@click.option("--folder", type=click.Path(path_type=Path), help="The gateway's; see serve.")
@options.as_json
def command(name: str, admin: bool, remove: bool, folder: Path | None, as_json: bool) -> None:
    """Make or remove a token for the gateway's callers.

    The token is printed once, only its hash is kept. With the first one that is not --admin,
    predicting needs a token. A gateway that runs takes the change at once.
    """
    from registry import settings
    from serving import nearby, tokens

    with tokens.changing(folder or settings.find_root() / nearby.FOLDER) as known:
        if remove:
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise click.ClickException(f"there is no token {name!r}; there are: {names}")
            del known[name]
            said = {"removed": name}
        else:
            if not name.isprintable() or not 0 < len(name) <= 100:
                raise click.ClickException("a name has 1 to 100 printable letters")
            if name in known:
                raise click.ClickException(f"there is a token {name!r} already; --remove it first")
            made = tokens.new()
            scope = "admin" if admin else "predict"
            known[name] = {"scope": scope, "sha256": tokens.hashed(made)}
            said = {"token": made, "scope": scope}
    if as_json:
        options.show_json(said)
    elif remove:
        click.echo(f"removed: {name}")
    else:
        click.echo(said["token"])
        click.echo("kept nowhere else; callers send it as Authorization: Bearer TOKEN", err=True)
