"""`understudy package triton`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import delivered, options
from cli.package_onnx import tolerance
from registry.console import Command


@click.command(cls=Command, epilog="Example: understudy package triton --output build/triton")
@delivered.version
@options.model
@delivered.output("build/triton")
@click.option(
    "--batch",
    type=click.IntRange(1, 1_000_000),
    default=1024,
    show_default=True,
    help="Most rows of one batch.",
)
@click.option(
    "--delay",
    type=click.IntRange(0, 60_000_000),
    default=500,
    show_default=True,
    help="Microseconds that a request may wait for others.",
)
@tolerance
@options.as_json
def command(
    version: int | None,
    model: str | None,
    output: Path,
    batch: int,
    delay: int,
    tolerance: float,
    as_json: bool,
) -> None:
    """The same as a model repository of Triton.

    The ONNX model, checked as by `understudy package onnx`, with a configuration that is read back
    and held against it. Needs the extra onnx.
    """
    from delivery import onnx_export

    onnx_export.require(tolerance)
    from delivery import triton

    with delivered.made(model, version, "triton", output) as found:
        done = onnx_export.export(found, tolerance)
        triton.write(found, done, batch=batch, delay=delay)
    delivered.show(
        found,
        done.sentence(found),
        as_json=as_json,
        then=f"tritonserver --model-repository {output / triton.MODELS}",
    )
