"""`understudy package onnx`."""

from __future__ import annotations

from pathlib import Path

import click

from cli import delivered, options
from registry.console import Command

tolerance = click.option(
    "--tolerance",
    type=float,
    default=1e-5,
    show_default=True,
    help="Largest difference to scikit-learn that is accepted.",
)


@click.command(cls=Command, epilog="Example: understudy package onnx --output build/onnx")
@delivered.version
@options.model
@delivered.output("build/onnx")
@tolerance
@options.as_json
def command(
    version: int | None, model: str | None, output: Path, tolerance: float, as_json: bool
) -> None:
    """The whole pipeline as one ONNX file, checked.

    It is held against scikit-learn on the rows that training kept and at their edges: missing
    values, unseen categories, numbers far outside. Needs the extra onnx.
    """
    from delivery import onnx_export

    onnx_export.require(tolerance)
    with delivered.made(model, version, "onnx", output) as found:
        done = onnx_export.export(found, tolerance)
        onnx_export.write(done, found.folder)
        onnx_export.write_sample(found, found.folder)
        (found.folder / onnx_export.README).write_text(onnx_export.readme(found, done))
    delivered.show(found, done.sentence(found), as_json=as_json)
