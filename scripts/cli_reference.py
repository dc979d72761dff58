"""`python scripts/cli_reference.py > docs/cli.md`: the command reference, made of the commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from cli.main import main as understudy

NAME = "understudy"
HEAD = """\
# Command reference

Made by `python scripts/cli_reference.py > docs/cli.md` from the commands themselves; change it
there, not here.
"""


def reference() -> str:
    """The whole document."""
    top = click.Context(understudy, info_name=NAME, **understudy.context_settings)
    return "\n".join([HEAD, *_with_all_below(understudy, top)])


def _with_all_below(command: click.Command, context: click.Context) -> Iterator[str]:
    yield from _command(command, context, level=2)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _with_all_below(
                    below, click.Context(below, info_name=name, parent=context)
                )


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    yield f"{'#' * level} {context.command_path}\n"
    yield f"{_text(command.help)}\n"
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```console\n$ {usage}\n```\n"
    parameters = command.get_params(context)
    arguments = [_argument(p, context) for p in parameters if isinstance(p, click.Argument)]
    if arguments:
        yield "Arguments:\n"
        yield "\n".join(arguments) + "\n"
    yield "Options:\n"
    yield "\n".join(_option(p, context) for p in parameters if isinstance(p, click.Option)) + "\n"
    if isinstance(command, click.Group):
        yield "Commands:\n"
        yield "\n".join(_listed(command, context)) + "\n"
    if command.epilog:
        yield f"Example:\n\n```console\n$ {_text(command.epilog).removeprefix('Example: ')}\n```\n"


def _listed(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            path = f"{context.command_path} {name}"
            yield f"- [`{name}`](#{path.replace(' ', '-')}): {command.get_short_help_str(100)}"


def _argument(argument: click.Argument, context: click.Context) -> str:
    kind, least = argument.type.name.removesuffix(" range"), ""
    if isinstance(argument.type, click.IntRange) and argument.type.min is not None:
        least = f", at least {argument.type.min:g}"
    need = "required" if argument.required else "may be left out"
    return f"- `{argument.make_metavar(context).strip('[]')}`: {kind}{least}; {need}."


def _option(option: click.Option, context: click.Context) -> str:
    names, says = option.get_help_record(context) or (option.opts[0], "")
    return f"- `{names}`: {' '.join(says.split())}"


def _text(written: str | None) -> str:
    """A docstring with one line per paragraph."""
    paragraphs = inspect.cleandoc(written or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    print(reference(), end="")
