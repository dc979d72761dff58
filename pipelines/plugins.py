"""MLflow plug-ins: lineage tags on every run in this repository, and the `dvc` dataset source.

mlflow loads this module in the middle of its own import, so it imports next to nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry.settings import quiet

quiet()

from mlflow.data.dataset_source import DatasetSource  # noqa: E402 - after telemetry is off
from mlflow.tracking.context.abstract_context import RunContextProvider  # noqa: E402

from registry import lineage  # noqa: E402


class LineageContext(RunContextProvider):  # type: ignore[misc] # mlflow ships no types for it
    """Tags every run that is started inside an Understudy project, whoever starts it."""

    def in_context(self) -> bool:
        """Whether the current folder lies in a project."""
        return _project() is not None

    def tags(self) -> dict[str, str]:
        """Git commit, dirty flag, data md5, parameter and lock hashes."""
        root = _project()
        return lineage.collect(root).tags() if root else {}


class DvcSource(DatasetSource):  # type: ignore[misc] # mlflow ships no types for it
    """A data version: a path, its DVC md5 and the git commit of its .dvc file."""

    def __init__(self, path: str, md5: str, commit: str = "") -> None:
        self.path, self.md5, self.commit = path, md5, commit

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self, dst_path: str | None = None) -> str:
        """Fetch the version from DVC's cache or remote into `dst_path`; returns that path."""
        import tempfile

        import dvc.api

        target = Path(dst_path or tempfile.mkdtemp(prefix="understudy-data-"))
        source = dvc.api.DVCFileSystem(rev=self.commit or None)
        source.get(self.path, str(target), recursive=True)
        return str(target)

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ARG004 - MLflow's signature
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise NotImplementedError("a dvc source is made from its path and md5")

    def to_dict(self) -> dict[str, str]:
        """For the tracking store."""
        return {"path": self.path, "md5": self.md5, "commit": self.commit}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> DvcSource:
        """From the tracking store."""
        return cls(**source_dict)


def _project() -> Path | None:
    """The nearest folder with both params.yaml and MLproject."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "MLproject").is_file() and (folder / "params.yaml").is_file():
            return folder
    return None
