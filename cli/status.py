"""`understudy status`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

import understudy
from cli import experiment, options
from registry.console import Command
from registry.lineage import PREFIX
from registry.problems import METRICS
from registry.stages import ALIASES, Stage


@click.command(cls=Command, epilog="Example: understudy status --json")
@options.model
@options.as_json
def command(model: str | None, as_json: bool) -> None:
    """What is live, what waits, and where MLflow shows otherwise."""
    found = understudy.status(model)
    if as_json:
        options.show_json(_as_dict(found))
        return
    state = found.state
    live = f"v{state.production} is in Production" if state.production else "nothing is live"
    back = f"a rollback would go to v{state.former[-1]}" if state.former else "no former version"
    click.echo(f"{found.model}: {live}; {back}")
    if found.state.traffic is not None:
        click.echo(f"traffic: {experiment.sentence(found.state.traffic)}")
    click.echo()
    click.echo(
        options.table(
            ("version", "stage", "alias", "created (UTC)", "data", "held-out metrics"),
            [_row(found, n) for n in sorted(found.shown.versions, reverse=True)],
        )
    )
    for difference in found.differences:
        click.echo(f"differs: {difference.sentence}", err=True)
    options.next_command(_next(found))


def _row(found: understudy.Status, number: int) -> tuple[str, ...]:
    version = found.shown.versions[number]
    stage = found.state.stages.get(number)
    created = datetime.fromtimestamp(version.created / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    held = found.metrics.get(number, {})
    order = dict.fromkeys(name for names in METRICS.values() for name in names)
    known = [(name, held[f"holdout/{name}"]) for name in order if f"holdout/{name}" in held]
    shown = ", ".join(f"{name} {value:.4f}" for name, value in known[:3])
    data = version.tags.get(PREFIX + "data_md5", "")[:8]
    alias = ALIASES.get(stage, "") if stage else ""
    return (str(number), stage or "(not in the ledger)", alias, created, data, shown)


def _next(found: understudy.Status) -> str:
    if any(difference.mendable for difference in found.differences):
        return "understudy repair"
    strange = set(found.shown.versions) - set(found.state.stages)
    if strange:
        return f"understudy register --version {min(strange)}"
    if not found.state.stages:
        return "dvc repro"
    if found.production is None:
        return f"understudy promote {max(found.state.stages)} --to production"
    if found.state.traffic is not None:
        return "understudy traffic status"
    waiting = [
        v
        for v, s in found.state.stages.items()
        if s in (Stage.NONE, Stage.STAGING) and v > found.production
    ]
    if waiting:
        return f"understudy promote {max(waiting)} --to production --dry-run"
    return "understudy serve"


def _as_dict(found: understudy.Status) -> dict[str, object]:
    return {
        "model": found.model,
        "production": found.state.production,
        "staging": found.state.staging,
        "former": list(found.state.former),
        "traffic": experiment.as_dict(found.state.traffic),
        "versions": [
            {
                "version": number,
                "stage": found.state.stages.get(number),
                "shown_stage": version.stage,
                "aliases": sorted(a for a, v in found.shown.aliases.items() if v == number),
                "created_ms": version.created,
                "run_id": version.run_id,
                "tags": version.tags,
                "metrics": found.metrics.get(number, {}),
            }
            for number, version in sorted(found.shown.versions.items())
        ],
        "differences": [difference.sentence for difference in found.differences],
    }
