"""`understudy traffic`: a challenger's share of the traffic, and what it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cli import options
from registry.console import Command

if TYPE_CHECKING:
    from understudy import Outcome

STATUS = "understudy traffic status"
_WEIGHT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*")


def share(text: str) -> float:
    """A weight as it is typed, `5%` or 0.05; whether it lies between 0 and 1 is not asked here.

    Raises click.BadParameter where it is no number.
    """
    found = _WEIGHT.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no weight; it is written as 5% or 0.05")
    number = float(found[1])
    return number / 100 if found[2] else number


def shares(text: str) -> tuple[float, ...]:
    """Several of them, with commas. Raises click.BadParameter."""
    return tuple(share(part) for part in text.split(","))


_RULE = (
    click.option(
        "--metric",
        type=click.Choice(["none", "error", "brier", "absolute"]),
        help="Loss of a labelled prediction that decides.",
    ),
    click.option("--alpha", type=float, help="Chance of a wrong verdict."),
    click.option("--minimum", type=int, help="Units of the challenger before it is promoted."),
    click.option("--wait-days", type=float, help="Days after which the champion stays."),
)
_RULES = ("metric", "alpha", "minimum", "wait_days")


def _weighing(usual: str) -> Callable[[options.AnyFunction], options.AnyFunction]:
    return click.option("--weight", type=share, help=f"Its share; default: {usual}.")


def _beginning(function: options.AnyFunction) -> options.AnyFunction:
    """What every command has that begins an experiment; without it params.yaml's rule holds."""
    function = options.override(options.changing(function))
    for option in reversed(_RULE):
        function = option(function)
    return function


_version = click.argument("version", type=click.IntRange(min=1))


@click.group(epilog="Example: understudy traffic canary 3 --weight 5%")
def command() -> None:
    """Let another version try on a share of the traffic, and see what it is worth.

    Each command is an entry of the ledger, and every gateway follows it. The section `experiment`
    of params.yaml says what decides; the options of a command change that for one experiment.
    """


@command.command(cls=Command, epilog="Example: understudy traffic canary 3 --steps 5%,25%,50%,100%")
@_version
@_weighing("5%, or the first of the steps")
@click.option("--steps", type=shares, help="Shares that it goes through.")
@_beginning
def canary(version: int, steps: tuple[float, ...] | None, **asked: Any) -> None:
    """Let VERSION answer a share of the traffic that may grow."""
    _begin(version, "canary", steps or (), asked)


@command.command(cls=Command, epilog="Example: understudy traffic ab 3 --weight 50% --metric brier")
@_version
@_weighing("50%")
@_beginning
def ab(version: int, **asked: Any) -> None:
    """Let VERSION answer a fixed share of the traffic."""
    _begin(version, "ab", (), asked)


@command.command(cls=Command, epilog="Example: understudy traffic shadow 3 --weight 20%")
@_version
@_weighing("100%")
@_beginning
def shadow(version: int, **asked: Any) -> None:
    """Let VERSION see a copy of the traffic; nobody gets its answers."""
    _begin(version, "shadow", (), asked)


def _begin(version: int, mode: str, steps: tuple[float, ...], asked: dict[str, Any]) -> None:
    import understudy

    rule = {name: value for name in _RULES if (value := asked.pop(name)) is not None}
    as_json = asked.pop("as_json")
    say = options.progress(as_json)
    done = understudy.challenge(version, mode=mode, steps=steps, rule=rule, say=say, **asked)
    _show(done, as_json=as_json, then=STATUS)


@command.command(
    cls=Command,
    epilog="Example: understudy traffic weight 25%",
    context_settings={"ignore_unknown_options": True},  # so that -5% gets its sentence, too
)
@click.argument("weight", type=share)
@options.changing
def weight(weight: float, as_json: bool, **asked: Any) -> None:
    """Give the challenger WEIGHT of the traffic.

    As it grows, keys only come to the challenger; none goes back and forth.
    """
    import understudy

    _show(understudy.reweigh(weight, **asked), as_json=as_json, then=STATUS)


@command.command(cls=Command, epilog="Example: understudy traffic stop --reason 'slow at noon'")
@options.changing
def stop(as_json: bool, **asked: Any) -> None:
    """End the experiment: all traffic goes to the champion.

    What the gateway knows of it is kept with the entry.
    """
    import understudy
    from cli import experiment

    verdict = None if asked["dry_run"] else experiment.known_verdict(asked["model"])
    done = understudy.stop_traffic(verdict=verdict, **asked)
    _show(done, as_json=as_json, then="understudy status")


@command.command(cls=Command, epilog="Example: understudy traffic status --json")
@options.model
@options.as_json
def status(model: str | None, as_json: bool) -> None:
    """Who gets which share, and the verdict so far in words.

    The verdict is that of the gateways of this project that run on this machine.
    """
    import understudy
    from cli import experiment

    now, found = understudy.traffic(model), experiment.heard(model)
    if as_json:
        reports = [{"address": h.address, "report": h.report} for h in found]
        options.show_json({"traffic": experiment.as_dict(now), "gateways": reports})
        return
    if now is None:
        click.echo("no experiment goes on")
    else:
        click.echo(experiment.sentence(now))
        for line in experiment.ledgers(now):
            click.echo(line)
    for line in experiment.gateways(found, now):
        click.echo(line)
    if now is not None and not found:
        click.echo("no gateway of this project runs here, so no traffic is split here")
    options.next_command(experiment.next_command(found, now))


def _show(done: Outcome, *, as_json: bool, then: str) -> None:
    from cli import outcome  # it reads YAML, and help is to be quick

    outcome.show(done, as_json=as_json, then=then)
