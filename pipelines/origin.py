"""Gathers what a run is made from, so that it can be explained and made again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import paths
from pipelines.params import AllParams
from pipelines.split import HOLDOUT
from registry import lineage, record
from registry.record import Data, Environment, Origin
from registry.settings import registry_params


def gather(
    root: Path, params: AllParams, parts: Mapping[str, pd.DataFrame], pinned: list[str]
) -> Origin:
    """Read it off the working copy, the parts of the split and the running interpreter.

    `pinned` are the packages that make the model, as `NAME==VERSION`.
    """
    pointer = lineage.data_pointer(root)
    return Origin(
        params={**params.model_dump(), "registry": {"model": registry_params(root).model}},
        data=_data(root, params, parts),
        pointer=pointer.read_text() if pointer.is_file() else "",
        diff=lineage.diff(root),
        environment=Environment(
            python=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            packages=dict(p.split("==", 1) for p in pinned),
        ),
    )


def _data(root: Path, params: AllParams, parts: Mapping[str, pd.DataFrame]) -> Data:
    md5 = lineage.data_md5(root)
    checked: dict[str, Any] = {}
    if (root / paths.DATA).is_file():
        checked = paths.read_json(root / paths.DATA)
    return Data(
        path=params.data.path,
        md5=md5,
        # The check of another data version lists other files.
        files=tuple(checked.get("files", ())) if checked.get("md5") == md5 else (),
        span=_span([rows[params.data.time] for rows in parts.values()] if params.data.time else []),
        rows={name: len(rows) for name, rows in parts.items()},
        columns=tuple(map(str, parts[HOLDOUT].columns)),
        holdout_sha256=record.rows_sha256(parts[HOLDOUT]),
    )


def _span(moments: list[pd.Series[Any]]) -> tuple[str, str] | None:
    if not moments:
        return None
    return (
        min(m.min() for m in moments).isoformat(),
        max(m.max() for m in moments).isoformat(),
    )
