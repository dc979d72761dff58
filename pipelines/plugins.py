"""MLflow plug-ins: lineage tags on every run in this repository, and the `dvc` dataset source.

mlflow loads this module in the middle of its own import, so it imports next to nothing.
"""

from __future__ import annotations

import shutil
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
        """Copy the version out of DVC's cache into `dst_path`; returns that path.

        By its md5, whatever data.dvc says today. Raises FileNotFoundError with what brings it.
        """
        import tempfile

        from dvc.repo import Repo
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_data.hashfile.tree import Tree

        target = Path(dst_path or tempfile.mkdtemp(prefix="understudy-data-"))
        cache = Repo(str(_project() or Path.cwd())).cache.local
        whole = HashInfo("md5", self.md5)
        try:
            if whole.isdir:
                parts = [("/".join(key), info.value) for key, _, info in Tree.load(cache, whole)]
            else:
                parts = [(Path(self.path).name, self.md5)]
            for name, md5 in parts:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(cache.oid_to_path(md5), target / name)
        except OSError:
            raise FileNotFoundError(
                f"DVC's cache does not hold version {self.md5} of {self.path}; `git checkout "
                f"{self.commit or 'COMMIT'}` and then `dvc pull {self.path}` bring it, or ingesting"
            ) from None
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
