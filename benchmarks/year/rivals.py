"""What Understudy is held against: the June model left alone, and one retrained every month."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.year.world import FEATURES, FIRST, World
from pipelines import conform, params, schema, split, train


@dataclass(frozen=True)
class Score:
    """How well probabilities of being late did in a month."""

    roc_auc: float
    log_loss: float
    rows: int


def score(world: World, month: int, chances: Mapping[str, float]) -> Score:
    """Against what really happened; flights without an answer or an outcome do not count."""
    from sklearn.metrics import log_loss, roc_auc_score

    own = world.truth[(world.truth["month"] == month) & world.truth["arrival"].notna()]
    own = own[own["flight_id"].isin(chances.keys())]
    late = (own["arrival"] == "late").to_numpy()
    chance = own["flight_id"].map(chances).to_numpy(dtype=float)
    return Score(
        float(roc_auc_score(late, chance)),
        float(log_loss(late, np.clip(chance, 1e-15, 1 - 1e-15))),
        len(own),
    )


def trained(root: Path, files: Mapping[str, str]) -> object:
    """A model of a data version, made by the pipeline's own code; nothing is asked of it."""
    found = params.all_params(root)
    table = pd.concat([pd.read_csv(io.StringIO(text)) for text in files.values()])
    table = table.reset_index(drop=True)
    contract = schema.resolve(table, found.data)
    typed = conform.validate(table, contract, found.data)
    typed = typed[typed[contract.target].notna()].reset_index(drop=True)
    parts = split.split(
        typed, time=contract.time, valid=found.data.valid, holdout=found.data.holdout
    )
    rows = pd.concat([parts["train"], parts["valid"]], ignore_index=True)
    return train.fit(contract, found, rows)


def chances(model: object, world: World, month: int) -> dict[str, float]:
    """What a model says of a month's flights as they are sent."""
    own = world.sent[world.sent["month"] == month]
    rows = own[FEATURES].copy()
    for name in ("carrier", "origin", "dest"):
        rows[name] = rows[name].astype(object)
    found = model.predict_proba(rows)  # type: ignore[attr-defined]
    late = list(model.classes_).index("late")  # type: ignore[attr-defined]
    return dict(zip(own["flight_id"], found[:, late].tolist(), strict=True))


def scores(
    root: Path, world: World, months: list[int], known: dict[str, object]
) -> dict[str, dict[int, Score]]:
    """Of both, by month. The monthly one learns what it is given, faults and all.

    `known` are models that were trained before, by what they were trained on, and becomes more.
    """

    def model(month: int) -> object:
        files = world.files(month, ())
        key = hashlib.sha256("".join(files.values()).encode()).hexdigest()
        if key not in known:
            known[key] = trained(root, files)
        return known[key]

    alone = model(FIRST - 1)
    found: dict[str, dict[int, Score]] = {"june": {}, "monthly": {}}
    for month in months:
        found["june"][month] = score(world, month, chances(alone, world, month))
        # Data that was halved comes whole with the next delivery, like every other fault's file:
        # nobody looks here, so nothing is mended before.
        newest = model(month - 1)
        found["monthly"][month] = score(world, month, chances(newest, world, month))
    return found
