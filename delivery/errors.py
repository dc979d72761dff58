"""Errors of packaging a version.

UnderstudyError
└── DeliveryError
    ├── OutputTaken
    ├── OutputUnwritable
    ├── ExtraMissing
    ├── InputsRefused
    ├── NotConvertible
    ├── ReferenceMissing
    ├── ToleranceNotPositive
    ├── AnswersDiffer
    ├── TritonRefused
    ├── BaseNotPinned
    ├── BaseMissing
    ├── LockMissing
    ├── LockUnfit
    ├── ExampleMissing
    ├── SourcesMissing
    └── SageMakerRefused
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from registry.errors import UnderstudyError


class DeliveryError(UnderstudyError):
    """Nothing was delivered, and nothing half-made is left."""


class OutputTaken(DeliveryError):
    """Something is there already."""

    def __init__(self, output: Path) -> None:
        super().__init__(
            f"{output} exists and is left as it is; name another folder with --output, "
            "or remove it first"
        )


class OutputUnwritable(DeliveryError):
    """The disk is full, or the folder belongs to somebody else."""

    def __init__(self, output: Path, why: str) -> None:
        super().__init__(f"{output} cannot be written: {why}; nothing of it is left")


class ExtraMissing(DeliveryError):
    """A package that only some deliveries need."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs {package}, which is not installed here; "
            f"install it with: pip install 'understudy[{extra}]'"
        )


class InputsRefused(DeliveryError):
    """A signature that has no counterpart in ONNX."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"version {version} cannot be written as ONNX: {why}; its signature must name columns "
            "that hold text or numbers"
        )


class NotConvertible(DeliveryError):
    """A step of the pipeline that ONNX has no form for."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(
            f"{step} cannot be written as ONNX: {why}; take another step for it, "
            "or deliver the model with `understudy package docker`"
        )


class ReferenceMissing(DeliveryError):
    """Nothing to hold the ONNX model against."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"version {version} has no reference sample to be checked on: {why}; "
            "train it again, which keeps one with its run"
        )


class ToleranceNotPositive(DeliveryError):
    """A tolerance that no difference can be held against."""

    def __init__(self, tolerance: float) -> None:
        super().__init__(f"the tolerance is {tolerance:g}; it must be a finite number above 0")


class AnswersDiffer(DeliveryError):
    """The ONNX model answers otherwise than scikit-learn."""

    def __init__(self, largest: float, tolerance: float, rows: str) -> None:
        super().__init__(
            f"the ONNX model differs from scikit-learn by up to {largest:.3g} on {rows}; allowed "
            f"is {tolerance:g}; look for a step that skl2onnx writes otherwise, "
            "or allow more with --tolerance"
        )


class TritonRefused(DeliveryError):
    """A configuration that Triton would not load with the model beside it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"config.pbtxt does not fit the ONNX model: {why}")


class BaseNotPinned(DeliveryError):
    """A base image that may be another one tomorrow."""

    def __init__(self, base: str) -> None:
        super().__init__(
            f"the base image {base!r} is not pinned; name it with its digest, as in "
            "--base IMAGE@sha256:... with 64 hexadecimal digits (`docker buildx imagetools inspect "
            "IMAGE` shows it)"
        )


class BaseMissing(DeliveryError):
    """Nobody said what an image is to be built on."""

    def __init__(self, python: str) -> None:
        image = f"python:{python}-slim"
        super().__init__(
            "an image needs a base, and one that is the same tomorrow: name it with --base or "
            f"UNDERSTUDY_BASE, as in --base docker.io/library/{image}@sha256:...; "
            f"`docker buildx imagetools inspect {image}` shows the digest"
        )


class LockMissing(DeliveryError):
    """The lock of the environment that a version was trained in."""

    def __init__(self, version: int, sha256: str) -> None:
        which = f" with the SHA-256 {sha256[:12]}, which its lineage names," if sha256 else ""
        super().__init__(
            f"version {version} cannot be packaged: the requirements.lock{which} is neither in the "
            "project nor among the artifacts of its run; check out the commit that it was trained "
            "from"
        )


class LockUnfit(DeliveryError):
    """The lock pins another environment than the model asks for."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            f"requirements.lock does not fit the model's requirements.txt: {'; '.join(problems)}; "
            "it has to pin, with hashes, what the model was trained with (`make lock`)"
        )


class ExampleMissing(DeliveryError):
    """A request that a health check could send."""

    def __init__(self, version: int, why: str) -> None:
        super().__init__(
            f"version {version} cannot be asked whether it is well: {why}; "
            "log the model with an input_example"
        )


class SourcesMissing(DeliveryError):
    """The project's own files, of which the gateway's image is built."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        super().__init__(
            f"the gateway's image is built from the project's sources, and {folder} has no "
            f"{', '.join(names)}; run the command from a checkout of the project with "
            "`pip install --editable .`"
        )


class SageMakerRefused(DeliveryError):
    """Amazon SageMaker, or MLflow's client for it, did not do what was asked."""

    def __init__(self, endpoint: str, why: str) -> None:
        super().__init__(f"the endpoint {endpoint} was not deployed: {why}")
