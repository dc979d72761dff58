"""`understudy key`."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import click

from cli import options
from registry import signing
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy key ~/.config/understudy/ana.pem")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--actor", help="Whose it is; default: UNDERSTUDY_ACTOR, else your login name.")
@options.as_json
def command(path: Path, actor: str | None, as_json: bool) -> None:
    """Make an Ed25519 key at PATH with which your ledger entries are signed.

    The private key stays in PATH; name it in UNDERSTUDY_KEY. The public one belongs into
    params.yaml, as the printed lines say. Once a key stands there, every command that changes
    something needs the key of its actor, and `understudy verify` demands the signatures.
    """
    who = actor or os.environ.get("UNDERSTUDY_ACTOR") or getpass.getuser()
    public = signing.generate(path.expanduser())
    if as_json:
        options.show_json({"actor": who, "public_key": public, "path": str(path)})
        return
    click.echo(f"private key: {path} (keep it to yourself; it is not encrypted)")
    click.echo(f"into params.yaml, section registry:\n  keys:\n    {who}: {public}")
    options.next_command(f"export UNDERSTUDY_KEY={path}")
