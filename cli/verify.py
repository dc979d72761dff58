"""`understudy verify`."""

from __future__ import annotations

import click

import understudy
from cli import options
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy verify --head HASH_NOTED_LAST_MONTH")
@options.model
@click.option("--head", "noted", multiple=True, help="A hash noted elsewhere that must be there.")
@click.option(
    "--artifacts/--no-artifacts",
    default=True,
    help="Fetch and compare all files, or only what needs none.",
)
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    model: str | None,
    noted: tuple[str, ...],
    artifacts: bool,
    as_json: bool,
) -> None:
    """Check the ledger's chain, signatures and decisions, all artifacts, stages and aliases.

    Exit code 0 when nothing is wrong, 1 otherwise. The last line is the ledger's head: noted
    outside of MLflow, it shows later that nothing up to here was written anew (--head).
    """
    found = understudy.verify(
        model=model, noted=noted, artifacts=artifacts, say=options.progress(as_json)
    )
    if as_json:
        options.show_json(found.as_dict())
    else:
        for finding in found.findings:
            click.echo(f"wrong ({finding.kind}): {finding.sentence}")
        for note in found.notes:
            click.echo(f"note: {note}")
        checked = f"{found.entries} entries, {found.signed} with a signature that holds"
        files = f"{found.artifacts} artifacts" if artifacts else "no artifacts (--no-artifacts)"
        click.echo(f"checked: {checked}; {files}; stages and aliases")
        wrong = len(found.findings)
        click.echo(f"{found.model}: " + (f"{wrong} things are wrong" if wrong else "sound"))
        click.echo(f"head: {found.head}")
    if not found.sound:
        context.exit(1)
