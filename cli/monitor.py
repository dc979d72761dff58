"""`understudy monitor`: what production sees, how well the model does, and what is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cli import options
from registry.console import Command, Ended

if TYPE_CHECKING:
    from monitoring.check import Look, Monitor
    from monitoring.findings import Judged
    from monitoring.gauges import Gauges
    from monitoring.kept import Kept
    from monitoring.setting import Setting

FOUND = 3
"""Exit code of a check that found something."""
SHOWN = 12
"""Windows that `status` lists."""


@click.group(epilog="Example: understudy monitor check")
def command() -> None:
    """What production sees and how well the model does, window by window.

    Drift and performance of what is in Production, from the gateway's prediction log; findings are
    runs of the MLflow experiment NAME-monitoring. The section `monitor` of params.yaml says what
    is told of and what is done.
    """


@command.command(cls=Command, epilog="Example: understudy monitor check --json")
@options.model
@options.as_json
def check(model: str | None, as_json: bool) -> None:
    """Look once: judge the windows that are over, decide, act, tell.

    Made for cron. Exit codes: 0 nothing to tell, 1 failed, 2 usage, 3 something was found. It may
    run as often as one likes; two at once do not disturb each other.
    """
    found = _monitor(model, quiet=as_json).check()
    if as_json:
        options.show_json(found.as_dict())
    else:
        _show(found)
    if found.found:
        sys.exit(FOUND)


@command.command(cls=Command, epilog="Example: understudy monitor watch --metrics-port 9108")
@options.model
@click.option(
    "--every",
    type=click.FloatRange(0.1, 86_400),
    help="Seconds between two looks; default: monitor.every of params.yaml.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer Prometheus at this port; 0 takes any free one. Default: none.",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address of that.")
def watch(
    model: str | None, every: float | None, metrics_port: int | None, metrics_host: str
) -> None:
    """Look again and again, until Ctrl-C."""
    from monitoring.gauges import Gauges

    gauges = Gauges()
    if metrics_port is not None:
        _answer(gauges, metrics_host, metrics_port)
    monitor = _monitor(model, quiet=False, gauges=gauges)
    pause = every or monitor.policy.every
    try:
        click.echo(f"looking at {monitor.model} every {pause:g} s; Ctrl-C ends it")
        while True:
            _look(monitor)
            time.sleep(pause)
    except (KeyboardInterrupt, Ended):
        click.echo("ended")


@command.command(cls=Command, epilog="Example: understudy monitor status")
@options.model
@options.as_json
def status(model: str | None, as_json: bool) -> None:
    """The newest windows, what was done, and whether somebody has muted."""
    kept = _kept(model)
    now = time.time()
    windows, deeds, mute = kept.windows(SHOWN), kept.deeds(SHOWN), kept.muted(now)
    decisions = {w.number: kept.decision(w.number) or {} for w in windows}
    if as_json:
        options.show_json(
            {
                "model": kept.model,
                "windows": [{**w.as_dict(), "decision": decisions[w.number]} for w in windows],
                "acts": [
                    {
                        "action": d.act.action,
                        "state": d.act.state,
                        "window": d.act.window,
                        "version": d.act.version,
                        "about": list(d.act.about),
                        "began": d.began,
                        "ended": d.ended,
                        "sentence": d.sentence,
                    }
                    for d in deeds
                ],
                "muted": None if mute is None else vars(mute),
                "unsent_alerts": len(kept.unsent()),
            }
        )
        return
    if not windows:
        click.echo(f"{kept.model}: no window was judged yet")
        options.next_command("understudy monitor check")
        return
    click.echo(_table(windows, decisions))
    newest = windows[-1]
    for finding in newest.found:
        click.echo(f"{'broken' if finding.broken else 'found'}: {finding.sentence}")
    if newest.problem:
        click.echo(f"problem: {newest.problem}")
    for why in decisions[newest.number].get("held") or ():
        click.echo(f"held: {why}")
    for deed in deeds[-5:]:
        click.echo(
            f"{_when(deed.began)} {deed.act.action} {deed.act.state}: {deed.sentence} "
            f"(window {deed.act.window})"
        )
    if mute is not None:
        click.echo(f"muted by {mute.actor} until {_when(mute.until)}: {mute.reason or 'no reason'}")
    options.next_command(
        "understudy monitor mute --hours 24" if newest.found else "understudy monitor check"
    )


@command.command(
    cls=Command, epilog="Example: understudy monitor mute --hours 24 --reason 'the fair is on'"
)
@options.model
@options.actor
@options.reason
@click.option(
    "--hours", type=click.FloatRange(0, 8760, min_open=True), default=24.0, show_default=True
)
def mute(model: str | None, actor: str | None, reason: str, hours: float) -> None:
    """Do nothing for a while: no alert, no retraining, no rollback. Windows are judged on."""
    from monitoring.errors import MuteRefused
    from monitoring.kept import Mute
    from registry.ledger import is_automatic
    from registry.settings import actor as login

    who = (login() if actor is None else actor).strip()
    if not who or not who.isprintable() or len(who) > 200:
        raise MuteRefused("who mutes needs a name of at most 200 characters; --actor gives it")
    if is_automatic(who):
        raise MuteRefused("to mute is a person's")
    until = time.time() + hours * 3600
    kept = _kept(model)
    kept.mute(Mute(until, who, reason.strip()[:2000]))
    click.echo(f"{kept.model}: muted by {who} until {_when(until)}")
    options.next_command("understudy monitor unmute")


@command.command(cls=Command, epilog="Example: understudy monitor unmute")
@options.model
def unmute(model: str | None) -> None:
    """End a mute."""
    kept = _kept(model)
    was = kept.muted(time.time())
    kept.mute(None)
    click.echo(f"{kept.model}: {'goes on' if was else 'nobody had muted'}")
    options.next_command("understudy monitor check")


def _setting(model: str | None) -> Setting:
    from experiments.rule import Rule
    from monitoring.sections import MonitorParams
    from monitoring.setting import Setting
    from pipelines.params import EvaluateParams
    from registry import settings
    from registry.errors import ModelNameRefused
    from registry.sections import name_problem
    from serving.sections import ServeParams

    root = settings.find_root()
    if model is not None and (problem := name_problem(model)):
        raise ModelNameRefused(model, problem)
    return Setting(
        root,
        settings.tracking_uri(root),
        model or settings.registry_params(root).model,
        settings.read_section(root, "monitor", MonitorParams),
        settings.read_section(root, "serve", ServeParams),
        settings.gate_params(root),
        settings.read_section(root, "experiment", Rule).model_dump(mode="json"),
        settings.read_section(root, "evaluate", EvaluateParams).slices,
    )


def _monitor(model: str | None, *, quiet: bool, gauges: Gauges | None = None) -> Monitor:
    from monitoring.check import Monitor

    def say(sentence: str) -> None:
        click.echo(sentence, err=True)

    setting = _setting(model)
    return Monitor(setting, say if not quiet else lambda _: None, gauges)


def _kept(model: str | None) -> Kept:
    from monitoring.errors import RecordsOff
    from monitoring.kept import Kept, url_of
    from serving import recorder

    setting = _setting(model)
    records = recorder.url_of(setting.serve.records, setting.folder)
    if not records:
        raise RecordsOff
    return Kept(url_of(setting.policy.store, records, setting.folder), setting.model)


def _look(monitor: Monitor) -> None:
    """One look of the watch; what goes wrong is said, and the next look tries again."""
    from registry.errors import UnderstudyError

    try:
        found = monitor.check()
    except UnderstudyError as error:
        click.echo(f"{_when(time.time())} {error}", err=True)
        return
    waits = found.state == "waiting"  # each look says so; the first one was an alert
    if found.judged or found.again or found.problems or (found.did and not waits):
        _show(found)


def _show(found: Look) -> None:
    stamp = _when(time.time())
    for window in found.judged:
        told = len(window.found)
        click.echo(
            f"{stamp} window {window.number}: {window.rows:,} rows of v{window.version}, "
            f"{told or 'no'} finding{'s' * (told != 1)}"
        )
        if window.problem:
            click.echo(f"  problem: {window.problem}")
    if found.again:
        click.echo(f"{stamp} {found.again} window{'s' * (found.again != 1)} got new labels")
    decision = found.decision
    if not found.judged and not found.again and decision.action == "nothing":
        click.echo(f"{found.model}: no new window is over")
    for reason in decision.reasons:
        click.echo(f"  {reason}")
    for why in decision.held:
        click.echo(f"  held: {why}")
    click.echo(f"decision: {decision.action}{f': {found.did}' if found.did else ''}")
    if found.muted:
        click.echo(f"muted {found.muted}")
    if found.unsent:
        click.echo(f"{found.unsent} alert{'s' * (found.unsent != 1)} wait to be sent")
    for problem in found.problems:
        click.echo(f"problem: {problem}", err=True)


def _table(windows: Sequence[Judged], decisions: dict[int, dict[str, object]]) -> str:
    rows = []
    for w in windows:
        quality = next((q for q in w.quality if q.version == w.version), None)
        guess = next((e for e in w.estimates if e.version == w.version), None)
        first = quality.metrics[0] if quality and quality.metrics else None
        name = first.metric if first else next(iter(guess.metrics), "") if guess else ""
        estimated = guess.metrics.get(name) if guess else None
        rows.append(
            (
                str(w.number),
                _when(w.until),
                f"{w.rows:,}",
                f"v{w.version}",
                f"{len(w.found)}{' (broken)' if w.broken else ''}",
                f"{name} {first.value:.3f} [{first.low:.3f}, {first.high:.3f}]" if first else "-",
                f"{estimated:.3f}" if estimated is not None else "-",
                f"{quality.labelled / quality.rows:.0%}" if quality and quality.rows else "-",
                str(decisions[w.number].get("action", "-")),
            )
        )
    head = ("window", "until", "rows", "version", "found", "with labels", "estimate", "labelled",
            "decision")  # fmt: skip
    return options.table(head, rows)


def _answer(gauges: Gauges, host: str, port: int) -> None:
    from prometheus_client import start_http_server

    try:
        server, _ = start_http_server(port, host, gauges.registry)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen at {host}:{port} ({error.strerror}); choose another --metrics-port"
        ) from None
    click.echo(f"metrics are at http://{host}:{server.server_port}/metrics")


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
