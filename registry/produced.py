"""Notes in MLflow what was made of a version: a run each in the experiment NAME-deliveries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from registry.artifact import Chosen
from registry.store import Store

SUFFIX = "-deliveries"
KIND_TAG = "understudy.delivery"
"""On a run: what was made (`score`, `docker`, `onnx`, ...)."""
VERSION_TAG = "understudy.version"


def note(
    store: Store,
    chosen: Chosen,
    kind: str,
    *,
    facts: Mapping[str, Any],
    metrics: Mapping[str, float],
    files: Mapping[str, str] | None = None,
) -> str:
    """Write one finished run and give its id. Raises RegistryUnreachable, RegistryRefused.

    `facts` go into its artifact delivery.json, beside what is known of the version; `files` are
    further texts by path.
    """
    known = chosen.facts()
    return store.publish(
        chosen.model + SUFFIX,
        f"{kind} v{chosen.version}",
        params={**known, "kind": kind},
        metrics=metrics,
        tags={KIND_TAG: kind, VERSION_TAG: str(chosen.version)},
        files={"delivery.json": json.dumps({**known, **facts}, indent=2), **(files or {})},
    )
