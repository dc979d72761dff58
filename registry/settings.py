"""The project's folder, and how params.yaml and the environment are read."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from registry.errors import ParamsInvalid, ParamsMissing, ProjectNotFound
from registry.sections import GateParams, RegistryParams, Section

SECTIONS = (
    "ingest", "data", "train", "evaluate", "tune", "registry", "gate", "serve", "experiment",
    "monitor",
)  # fmt: skip
"""Every top-level key that params.yaml may have."""


AnySection = TypeVar("AnySection", bound=Section)


def find_root(start: Path | None = None) -> Path:
    """The nearest folder with a params.yaml, from `start` upwards. Raises ProjectNotFound."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise ProjectNotFound(start)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with the floats of YAML 1.2: 1e-3 is a number, as for DVC."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load_yaml(text: str) -> Any:
    """Read one YAML document. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a SafeLoader


def read_params(root: Path) -> dict[str, Any]:
    """All of params.yaml as it stands. Raises ParamsInvalid for what no section may hold."""
    try:
        raw = load_yaml((root / "params.yaml").read_text())
    except (yaml.YAMLError, ValueError) as error:  # an impossible date is a ValueError
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise ParamsInvalid([f"it is not valid YAML{line}"]) from None
    if not isinstance(raw, dict):
        raise ParamsInvalid(["it has no sections"])
    unknown = [str(key) for key in raw if key not in SECTIONS]
    if unknown:
        raise ParamsInvalid(
            [f"unknown section {key!r}; there are {', '.join(SECTIONS)}" for key in unknown]
        )
    return raw


def read_section(root: Path, name: str, kind: type[AnySection]) -> AnySection:
    """One section, checked. Raises ParamsMissing, or ParamsInvalid naming every problem."""
    raw = read_params(root)
    if name not in raw:
        if any(field.is_required() for field in kind.model_fields.values()):
            raise ParamsMissing(name)
        return kind()
    return check_section(name, kind, {} if raw[name] is None else raw[name])


def check_section(name: str, kind: type[AnySection], raw: Mapping[str, Any]) -> AnySection:
    """Build a section from its raw values. Raises ParamsInvalid naming every problem."""
    if not isinstance(raw, Mapping):
        raise ParamsInvalid([f"{name} must be a table of keys and values"])
    try:
        # A key without a value means its default.
        return kind.model_validate({k: v for k, v in raw.items() if v is not None})
    except ValidationError as error:
        raise ParamsInvalid([_sentence(name, kind, e) for e in error.errors()]) from None


def _sentence(section: str, kind: type[BaseModel], error: Any) -> str:
    where = ".".join(filter(None, [section, *(str(part) for part in error["loc"])]))
    if error["type"] == "extra_forbidden":
        return f"unknown key {where}; {section} has {', '.join(kind.model_fields)}"
    if error["type"] == "missing":
        return f"{where} is missing"
    message = error["msg"].removeprefix("Value error, ")
    message = (message[:1].lower() + message[1:]).replace("valid tuple", "valid list")
    if isinstance(error["input"], Mapping | BaseModel):  # keys that contradict one another
        return f"{where}: {message}" if where else message
    return f"{where} is {error['input']!r}: {message}"


def registry_params(root: Path | None = None) -> RegistryParams:
    """Section `registry`."""
    return read_section(root or find_root(), "registry", RegistryParams)


def gate_params(root: Path | None = None) -> GateParams:
    """Section `gate`; all its keys have defaults."""
    return read_section(root or find_root(), "gate", GateParams)


def tracking_uri(root: Path | None = None) -> str:
    """MLFLOW_TRACKING_URI, or mlflow.db in the project's folder."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{root or find_root()}/mlflow.db"


def actor() -> str:
    """Who decides unless somebody is named: UNDERSTUDY_ACTOR, else the login name."""
    return os.environ.get("UNDERSTUDY_ACTOR") or getpass.getuser()


def without_password(text: str) -> str:
    """A text whose addresses have lost the names and passwords they carried."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def quiet() -> None:
    """Switch usage telemetry and progress bars off; to be called before mlflow is imported.

    A server that is down is noticed in seconds, too: MLflow's own default tries for minutes.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
