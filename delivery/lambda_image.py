"""The build context of an image for AWS Lambda: the ONNX model, its handler, a Dockerfile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from delivery import onnx_export
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
    return f"""FROM {base} AS build
COPY {shipped} {REQUIREMENTS} {SUMS} /build/
WORKDIR /build
RUN sha256sum -c {SUMS} \\
    && python -m pip install --no-cache-dir --no-compile --only-binary :all: --no-deps \\
        --target /build/packages -r {REQUIREMENTS}

FROM {base}
LABEL {_labels(base, made.chosen.facts())}
WORKDIR /var/task
COPY --from=build /build/packages /var/task/
COPY --chmod=0644 {shipped} /var/task/
USER 10001:10001
CMD ["handler.handler"]
"""


def _labels(base: str, facts: Mapping[str, str]) -> str:
    name, _, pinned = base.partition("@")
    image = "org.opencontainers.image."
    found = {
        f"{image}title": facts["model"],
        f"{image}version": facts["version"],
        f"{image}revision": facts.get("git_commit", ""),
        f"{image}base.name": name,
        f"{image}base.digest": pinned,
        # Not the stage, which moves on.
        **{f"understudy.{key}": value for key, value in facts.items() if key != "stage"},
    }
    return " \\\n    ".join(f"{key}={_quoted(value)}" for key, value in found.items() if value)


def _quoted(text: str) -> str:
    """As a Dockerfile reads it, which replaces variables in double quotes."""
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$")
