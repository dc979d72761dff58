"""The texts of the two build contexts: Dockerfiles, their labels, the model server's start. Pure.

Both images have a stage that installs and is left behind, no shell needed to run them but for the
model's check of its own files, and a numeric user. A pip.conf for a private index is a build
secret, so that it is in no layer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

PORT = 8080
USER = "10001:10001"
VENV = "/opt/venv"
MODEL = "/opt/model"
SERVING = "/opt/serving"
PROJECT = "/opt/project"

_POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
_ENVIRONMENT = {
    "PATH": f"{VENV}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - what may be written to where the file system is read-only
    "USER": "understudy",
    "PORT": str(PORT),
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    **{f"{pool}_NUM_THREADS": "1" for pool in _POOLS},
}

_INSTALL = rf"""FROM {{base}} AS environment
COPY requirements.txt /build/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    {{first}}python3 -m venv /opt/tools \
    && python3 -m venv --without-pip {VENV} \
    && /opt/tools/bin/pip --python {VENV}/bin/python install --no-cache-dir {{how}} \
        --require-hashes --requirement /build/requirements.txt"""

# Their tests are a seventh of what scoring needs.
_TRIM = rf"""    && find {VENV}/lib -type d -name tests -prune -regex \
        '.*/site-packages/\(pandas\|scipy\|sklearn\)/.*' -exec rm -rf '{{}}' +
"""

_PYTHON = r"""python3 -c 'import sys; sys.exit(sys.version_info[:2] != ({major}, {minor}) \
        and "the model needs Python {major}.{minor}, this base has " + sys.version.split()[0])' \
    && """

START = f"""#!/bin/sh
# Serves the model as `mlflow models serve` does, once its files have the digest that the ledger
# knows: SHA-256 of the lines that sha256sum writes of them, in the order of their names' bytes.
set -eu
cd {MODEL}
found=$(find . ! -type d -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum -- | sha256sum)
found=${{found%% *}}
if [ "$found" != "$UNDERSTUDY_DIGEST" ]; then
    echo "not started: the model's files have the digest $found, not $UNDERSTUDY_DIGEST" >&2
    exit 1
fi
cd /tmp
export __pyfunc_model_path__={MODEL}
exec uvicorn --host 0.0.0.0 --port "$PORT" mlflow.pyfunc.scoring_server.app:app
"""


def model(base: str, title: str, facts: Mapping[str, str], python: str) -> str:
    """The Dockerfile of a model server; `python` is MAJOR.MINOR, or empty for any.

    `facts` are those of registry.artifact.Chosen.
    """
    major, _, minor = python.partition(".")
    stage = _INSTALL.format(
        base=base,
        first=_PYTHON.format(major=major, minor=minor) if python else "",
        how="--no-compile --only-binary :all:",
    )
    environment = {**_ENVIRONMENT, "UNDERSTUDY_DIGEST": facts["digest"]}
    return f"""# Serves version {facts["version"]} of {_line(title)}: `understudy package docker`.
{stage} \
{_TRIM}COPY model {MODEL}
COPY serving {SERVING}
# Asks the model once, which also leaves the bytecode of what is imported for that: a server on a
# read-only file system that has none compiles at every start, and that of the rest is no use.
RUN __pyfunc_model_path__={MODEL} {VENV}/bin/python {SERVING}/healthy.py build

FROM {base}
LABEL {pairs(of_version(base, title, facts))}
ENV {pairs(environment)}
COPY --from=environment {VENV} {VENV}
COPY model {MODEL}
COPY serving {SERVING}
WORKDIR /tmp
USER {USER}
EXPOSE {PORT}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \\
    CMD ["{VENV}/bin/python", "-I", "{SERVING}/healthy.py"]
ENTRYPOINT ["/bin/sh", "{SERVING}/serve.sh"]
"""


def gateway(base: str, version: str, commit: str) -> str:
    """The Dockerfile of the project's own image, whose command is the gateway."""
    stage = _INSTALL.format(base=base, first="", how="--compile")
    asked = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1', "
        f"{PORT}, timeout=8); c.request('GET', '/ready'); "
        "raise SystemExit(c.getresponse().status != 200)"
    )
    health = json.dumps([f"{VENV}/bin/python", "-I", "-c", asked])
    command = ["serve", "--host", "0.0.0.0", "--port", str(PORT), "--folder", "/tmp/understudy"]  # noqa: S104, S108
    return f"""# The gateway, and every other command of the project: `understudy package docker`.
{stage}
COPY project /build/project
RUN /opt/tools/bin/pip --python {VENV}/bin/python install --no-cache-dir --no-deps --no-index \\
        --no-build-isolation /build/project

FROM {base}
LABEL {pairs(_labels(base, "understudy", version, commit))}
ENV {pairs(_ENVIRONMENT)}
COPY --from=environment {VENV} {VENV}
COPY project/params.yaml {PROJECT}/params.yaml
WORKDIR {PROJECT}
USER {USER}
EXPOSE {PORT}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \\
    CMD {health}
ENTRYPOINT ["{VENV}/bin/understudy"]
CMD {json.dumps(command)}
"""


def of_version(base: str, title: str, facts: Mapping[str, str]) -> dict[str, str]:
    """Labels of an image that holds a version."""
    return {
        **_labels(base, title, facts["version"], facts.get("git_commit", "")),
        # Not the stage, which moves on.
        **{f"understudy.{k}": value for k, value in facts.items() if value and k != "stage"},
    }


def _labels(base: str, title: str, version: str, commit: str) -> dict[str, str]:
    name, _, digest = base.partition("@")
    found = {
        "title": title,
        "version": version,
        "revision": commit,
        "base.name": name,
        "base.digest": digest,
    }
    return {f"org.opencontainers.image.{key}": value for key, value in found.items() if value}


def pairs(values: Mapping[str, str]) -> str:
    """As LABEL and ENV of a Dockerfile have them."""
    return " \\\n    ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(text: str) -> str:
    """As a Dockerfile reads it: in double quotes, in which only these three are special."""
    escaped = _line(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _line(text: str) -> str:
    """What is written in a ledger must not become an instruction of its own."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)
