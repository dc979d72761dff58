"""`understudy promote`."""

from __future__ import annotations

from typing import Any

import click

import understudy
from cli import experiment, options, outcome
from registry.console import Command


@click.command(
    cls=Command, epilog="Example: understudy promote 2 --to production --reason 'better on July'"
)
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--to",
    type=click.Choice(["staging", "production"], case_sensitive=False),
    required=True,
    help="The stage; the version that holds it now is archived.",
)
@options.override
@options.report
@options.changing
def command(
    version: int,
    to: str,
    override: tuple[str, ...],
    report: str | None,
    model: str | None,
    reason: str,
    actor: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Promote VERSION through the gates of params.yaml."""
    of_experiment = None if dry_run or to != "production" else _seen(version, model)
    done = options.reported(
        report,
        lambda: understudy.promote(
            version,
            to=to,
            override=override,
            model=model,
            reason=reason,
            actor=actor,
            dry_run=dry_run,
            say=options.progress(as_json),
            evidence=of_experiment,
        ),
    )
    then = (
        "understudy serve"
        if to == "production"
        else f"understudy promote {version} --to production"
    )
    outcome.show(done, as_json=as_json, then=then)


def _seen(version: int, model: str | None) -> dict[str, Any] | None:
    """What an experiment with this challenger has shown, for the ledger to keep."""
    verdict = experiment.known_verdict(model, version)
    return {"experiment": verdict} if verdict else None
