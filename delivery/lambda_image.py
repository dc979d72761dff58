"""The build context of an image for AWS Lambda: the ONNX model, its handler, a Dockerfile."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from delivery import docker_text, onnx_export
from delivery.making import Making
from delivery.onnx_export import Exported
from registry import digest

HANDLER, REQUIREMENTS, SUMS = "handler.py", "requirements.txt", "SHA256SUMS"
PACKAGES = ("numpy", "onnxruntime")
_SHIPPED = (HANDLER, onnx_export.MODEL, onnx_export.SIGNATURE)


def write(made: Making, done: Exported, base: str) -> None:
    """Write the context; `base` is an image of AWS Lambda for Python, pinned by its digest."""
    folder = made.folder
    onnx_export.write(done, folder)
    onnx_export.write_sample(made, folder)
    # Its source is read and not imported: importing it loads the model that lies beside it.
    (folder / HANDLER).write_text((Path(__file__).parent / "lambda_handler.py").read_text())
    pins = "".join(f"{name}=={version(name)}\n" for name in PACKAGES)
    (folder / REQUIREMENTS).write_text(pins)
    sums = "".join(f"{digest.of_file(folder / name)}  {name}\n" for name in _SHIPPED)
    (folder / SUMS).write_text(sums)
    (folder / "Dockerfile").write_text(dockerfile(base, made))
    (folder / ".dockerignore").write_text(
        "*\n" + "".join(f"!{name}\n" for name in (*_SHIPPED, REQUIREMENTS, SUMS))
    )
    made.facts["base"] = base


def dockerfile(base: str, made: Making) -> str:
    """Two stages: what installs stays behind. Lambda itself runs it read-only and unprivileged."""
    shipped = " ".join(_SHIPPED)
    labels = docker_text.of_version(base, made.chosen.model, made.chosen.facts())
    return f"""FROM {base} AS build
COPY {shipped} {REQUIREMENTS} {SUMS} /build/
WORKDIR /build
RUN sha256sum -c {SUMS} \\
    && python -m pip install --no-cache-dir --no-compile --only-binary :all: --no-deps \\
        --target /build/packages -r {REQUIREMENTS}

FROM {base}
LABEL {docker_text.pairs(labels)}
WORKDIR /var/task
COPY --from=build /build/packages /var/task/
COPY --chmod=0644 {shipped} /var/task/
USER 10001:10001
CMD ["handler.handler"]
"""
