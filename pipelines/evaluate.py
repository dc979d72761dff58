"""Stage evaluate: the held-out rows, seen here for the first time: metrics, slices and plots."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import pandas as pd

from pipelines import paths, plots, scores, track
from pipelines.params import all_params
from pipelines.schema import Contract
from pipelines.split import HOLDOUT
from pipelines.train import about
from registry import metrics
from registry.console import Command
from registry.metrics import Truth
from registry.record import Record
from registry.settings import find_root

IMPORTANCE_ROWS = 2000
REPEATS = 3


def importance(model: Any, record: Record, rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Permutation importance (Breiman 2001) on at most 2,000 rows, by the primary metric.

    Columns feature, importance (what the metric loses, positive is important), spread (half the
    range over the repeats). All shuffled copies go through the model in one call.
    """
    sample = rows.sample(min(IMPORTANCE_ROWS, len(rows)), random_state=seed)
    features = sample[list(record.features)].reset_index(drop=True)
    copies = [features]
    for number, name in enumerate(record.features):
        for repeat in range(REPEATS):
            column = features[name].sample(frac=1, random_state=seed + number * REPEATS + repeat)
            copies.append(features.assign(**{name: column.to_numpy()}))
    truth, metric = record.truth(sample), metrics.get(record.metric, record.problem)
    answers = truth.scores(model.predict(pd.concat(copies, ignore_index=True)))
    if record.metric not in metrics.compute(truth, answers[: len(sample)], [record.metric]):
        return pd.DataFrame(columns=list(scores.COLUMNS["importance"]))
    values = [
        metric.compute(truth, answers[i * len(sample) : (i + 1) * len(sample)])
        for i in range(len(copies))
    ]
    sign = 1 if metric.greater_is_better else -1
    found = []
    for number, name in enumerate(record.features):
        losses = [
            sign * (values[0] - v)
            for v in values[1 + number * REPEATS : 1 + (number + 1) * REPEATS]
        ]
        found.append((name, sum(losses) / REPEATS, (max(losses) - min(losses)) / 2))
    table = pd.DataFrame(found, columns=list(scores.COLUMNS["importance"]))
    return table.sort_values("importance", ascending=False, ignore_index=True)


def evaluate(root: Path, run_id: str, folder: Path) -> dict[str, float]:
    """Score a run's model on the held-out rows and log what comes out; returns the metrics.

    The points of the plots are written to `folder` as well.
    """
    params = all_params(root)
    contract = Contract.read(paths.need(root, paths.CONTRACT, "validate"))
    rows = pd.read_parquet(paths.need(root, paths.PREPARED, "prepare") / f"{HOLDOUT}.parquet")
    record = about(contract, params)
    with track.run(root, run_id):
        model = track.load(run_id)
        truth = record.truth(rows)
        answers = truth.scores(model.predict(rows[list(contract.features)]))
        found = metrics.compute(truth, answers)
        sliced = scores.by_slice(
            truth, answers, rows, params.evaluate.slices, params.evaluate.slice_rows
        )
        track.metrics(HOLDOUT, found)
        track.metrics("", sliced)
        _plots(folder, truth, answers, importance(model, record, rows, params.train.seed))
    return found


def _plots(folder: Path, truth: Truth, answers: Any, ranked: pd.DataFrame) -> None:
    points = {**scores.curves(truth, answers), "importance": ranked}
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in scores.COLUMNS.items():
        # dvc.yaml names them all; one that does not fit the problem has no rows.
        table = points.get(name, pd.DataFrame(columns=list(columns)))
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    track.figures(plots.draw(points, f"held-out rows, n = {len(truth.labels):,}"))
    track.files(folder, "plots/points")


@click.command(cls=Command)
@click.option("--run-id", default="", help="The run; default: the pipeline's last.")
@click.option(
    "--output", default="", help="Folder for metrics.json and plots; empty leaves these alone."
)
def main(run_id: str, output: str) -> None:
    """Evaluate a run's model on the held-out rows."""
    root = find_root()
    run = run_id or paths.read_json(paths.need(root, paths.RUN, "train"))["run_id"]
    with tempfile.TemporaryDirectory() as elsewhere:
        folder = root / output if output else Path(elsewhere)
        found = evaluate(root, run, folder / "plots")
    for name, value in found.items():
        click.echo(f"{HOLDOUT}/{name} {value:.4f}")
    if output:
        # Six digits: what another processor rounds otherwise is no other result for DVC.
        rounded = {name: round(value, 6) for name, value in found.items()}
        paths.write_json(root / output / "metrics.json", rounded)


if __name__ == "__main__":
    main()
