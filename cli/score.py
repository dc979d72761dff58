"""`understudy score`: a table or a folder of files, predicted by what is in Production."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cli import options
from registry.console import Command

if TYPE_CHECKING:
    from batch.job import Progress, Told
    from batch.scoring import Scored

REJECTED = 3
"""Exit code when rows were rejected and others predicted."""
SOON, SELDOM = 0.2, 30.0
"""Seconds between two words of progress, on a terminal and elsewhere."""


class EmptyIsNone(click.Option):
    """`mlflow run` gives a parameter that nobody named as an empty text."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """A value of the option's type, or None."""
        return None if value == "" else super().type_cast_value(ctx, value)


def _path(_context: click.Context, _argument: click.Parameter, value: str) -> str:
    """An empty variable of a shell is no folder."""
    if not value.strip():
        raise click.BadParameter("it is empty")
    return value


@click.command(cls=Command, epilog="Example: understudy score data/july predictions/july")
@click.argument("given", metavar="INPUT", callback=_path)
@click.argument("output", metavar="OUTPUT", callback=_path)
@options.model
@click.option(
    "--version", cls=EmptyIsNone, type=click.IntRange(min=1),
    help="Default: the version in Production.",
)  # fmt: skip
@click.option(
    "--processes", type=click.IntRange(1, 256), default=1, show_default=True,
    help="Processes that predict, each with the model loaded.",
)  # fmt: skip
@click.option(
    "--chunk-rows", type=click.IntRange(1, 10_000_000), default=50_000, show_default=True,
    help="Rows predicted at once; memory grows with it.",
)  # fmt: skip
@click.option(
    "--columns", cls=EmptyIsNone, metavar="A,B", help="Input columns to pass on. Default: all."
)
@click.option(
    "--format", "kind", cls=EmptyIsNone, type=click.Choice(["csv", "parquet"]),
    help="Of the parts of a folder. Default: as the input.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["local", "spark"]), default="local", show_default=True,
    help="Spark, for what outgrows this machine, needs the extra `spark`.",
)  # fmt: skip
@click.option("--at", metavar="TIME", help="Prediction time with its zone. Default: the start.")
@click.option("--restart", is_flag=True, help="Forget what an interrupted job has done.")
@options.as_json
def command(
    given: str,
    output: str,
    *,
    model: str | None,
    version: int | None,
    processes: int,
    chunk_rows: int,
    columns: str | None,
    kind: str | None,
    engine: str,
    at: str | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Predict a table with what is in Production.

    INPUT is a CSV or Parquet file or a folder of such files, OUTPUT a folder of parts or one file,
    where it ends in .csv or .parquet; both may be URLs. Rows that break the contract go to
    OUTPUT.rejects.csv with their reasons. A job that was interrupted goes on when the same command
    is given again. Exit codes: 0 all predicted, 1 failed, 2 usage, 3 some rows were rejected.
    """
    from batch.scoring import Wish, score
    from registry import settings
    from registry.store import connect
    from serving import rules

    if engine == "spark":
        for name, chosen in (("--processes", processes != 1), ("--restart", restart)):
            if chosen:
                raise click.UsageError(f"{name} is of the local engine; Spark has its own")
    wish = Wish(
        given, output, model or settings.registry_params().model, version,
        format=kind,  # type: ignore[arg-type] # click has looked at these two
        engine=engine,  # type: ignore[arg-type]
        columns=_columns(columns),
        at=_moment(at), chunk_rows=chunk_rows, processes=processes, restart=restart,
    )  # fmt: skip
    with connect() as (store, _):
        found = score(store, wish, rules.read(), _told(quiet=as_json))
    _show(found, as_json=as_json)
    if found.done.rejected:
        sys.exit(REJECTED)


def _columns(text: str | None) -> tuple[str, ...] | None:
    """Names between commas. Raises UsageError where one comes twice."""
    if text is None:
        return None
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise click.UsageError(f"--columns names {', '.join(twice)} twice")
    return found


def _moment(text: str | None) -> datetime | None:
    """Raises TimeRefused."""
    from batch.errors import TimeRefused

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):  # no moment at all, or one before the first year in UTC
        pass
    raise TimeRefused(text)


def _show(found: Scored, *, as_json: bool) -> None:
    from registry.settings import without_password

    job, done = found.job, found.done
    output, rejects = without_password(job.output), without_password(job.rejects)
    if as_json:
        options.show_json(
            {
                **found.chosen.facts(),
                "input": without_password(job.input),
                "output": output,
                "rows": done.rows,
                "rejected": done.rejected,
                "rejects": rejects if done.rejected else None,
                "resumed": done.resumed,
                "seconds": round(done.seconds, 3),
                "prediction_time": done.at.isoformat(),
                "schema": dict(done.schema),
                "run": found.run or None,
            }
        )
    else:
        click.echo(
            f"{done.rows:,} rows predicted by {found.chosen.model} v{found.chosen.version} "
            f"in {done.seconds:,.1f} s: {output}"
        )
        if done.rejected:
            click.echo(f"{done.rejected:,} rows rejected: {rejects}")
    if found.unnoted:
        click.echo(f"not noted in MLflow: {found.unnoted}", err=True)


def _told(*, quiet: bool) -> Told:
    """Says on stderr how far a job is: a line that is written over on a terminal, else a few."""
    if quiet:
        return lambda _: None
    terminal, start = sys.stderr.isatty(), time.monotonic()
    last = start

    def say(now: Progress) -> None:
        nonlocal last
        moment = time.monotonic()
        finished = now.rows == now.total
        if moment - last < (SOON if terminal else SELDOM) and not (terminal and finished):
            return
        last = moment
        line = progress(now, moment - start)
        if terminal:
            click.echo(f"\r{line}\x1b[K", nl=finished, err=True)
        else:
            click.echo(f"... {line}", err=True)

    return say


def progress(now: Progress, seconds: float) -> str:
    """Rows, rows per second, and how long it will take where that can be told."""
    rate = (now.rows - now.resumed) / max(seconds, 1e-9)
    pace = f"{now.rows:,} rows, {rate:,.0f} rows/s"
    share = now.share if now.total is None else now.rows / max(now.total, 1)
    if share is None:
        return pace
    bar = "#" * int(20 * share)
    left = ""
    if rate and share:
        to_go = (now.total - now.rows) / rate if now.total else seconds * (1 - share) / share
        left = f", {to_go:,.0f} s to go"
    return f"[{bar:<20}] {share:4.0%} {pace}{left}"


if __name__ == "__main__":  # `mlflow run -e score`, also where the project is not installed
    command(prog_name="understudy score")
