"""`understudy package`: a version made ready for where it must run."""

from __future__ import annotations

import click

from cli.lazy import lazy

PACKAGES = {
    "docker": "Contexts of two images: the model server and the gateway.",
    "kubernetes": "Manifests of what the ledger says.",
    "onnx": "The whole pipeline as one ONNX file, checked.",
    "triton": "The same as a model repository of Triton.",
    "lambda": "An image for AWS Lambda that answers with onnxruntime.",
    "sagemaker": "A model for Amazon SageMaker, by MLflow's own client.",
}


@click.group(
    cls=lazy("cli.package_", PACKAGES),
    epilog="Example: understudy package docker --output build/image",
)
def command() -> None:
    """A version made ready for where it must run.

    Each takes what is in Production unless --version names another one, holds its files against
    the digest that the ledger has, and notes in the MLflow experiment NAME-deliveries what it made.
    """
