"""What the tests of batch scoring share: a tiny real version's files, and jobs made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batch.job import Job
from batch.source import Source


@pytest.fixture(scope="session")
def files(
    tiny_template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The files of the model `better`, which takes numbers a and b."""
    from registry.store import Store

    database, runs = tiny_template
    copy = tmp_path_factory.mktemp("files") / "mlflow.db"
    shutil.copy2(database, copy)
    store = Store(f"sqlite:///{copy}")
    model = store.run(runs["better"]).models[0]
    return store.download_model(f"models:/{model}", copy.parent / "model")


@pytest.fixture
def job(files: Path, tmp_path: Path) -> Callable[..., Job]:
    """Make a job of a table: `job(table, "in.csv", "out")`."""

    def make(table: pd.DataFrame | None, given: str, output: str = "out", **more: Any) -> Job:
        path = tmp_path / given
        if table is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if given.endswith(".csv"):
                table.to_csv(path, index=False)
            else:
                table.to_parquet(path)
        source = Source(more.pop("input", str(path)))
        by_name = next((f for f in ("csv", "parquet") if output.endswith(f".{f}")), source.format)
        return Job(
            **{
                "input": source.url,
                "files": source.files,
                "input_format": source.format,
                "output": str(tmp_path / output) if "://" not in output else output,
                "output_format": by_name,
                "model": files,
                "name": "m",
                "version": 2,
                "digest": "d" * 64,
                "chunk_rows": 100,
                **more,
            }
        )

    return make
