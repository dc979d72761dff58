"""Stage train: fits, scores on the validation rows, fits again on both, and logs it all.

The held-out rows are not touched here. The second fit exists because the newest rows, which
validation used up, are worth most to a model that is to answer tomorrow's requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pandas as pd
import yaml
from sklearn.pipeline import Pipeline

from pipelines import model, origin, paths, track
from pipelines.errors import FitFailed
from pipelines.named_answers import NamedAnswers
from pipelines.obtain import prepared
from pipelines.params import AllParams, all_params
from pipelines.schema import Contract
from pipelines.split import HOLDOUT, TRAIN, VALID
from registry import metrics
from registry.console import Command
from registry.errors import ParamsInvalid
from registry.record import ANSWER, Record
from registry.settings import find_root, load_yaml


def fit(contract: Contract, params: AllParams, rows: pd.DataFrame) -> Pipeline:
    """A Pipeline fitted on `rows`. Raises FitFailed with the estimator's own words."""
    pipeline = model.build(contract, params.train)
    try:
        return pipeline.fit(rows[list(contract.features)], rows[contract.target])
    except (ValueError, TypeError) as error:
        why = str(error).strip().splitlines()[0][:300]
        raise FitFailed(params.train.estimator, why) from None


def answer(pipeline: Pipeline, contract: Contract, rows: pd.DataFrame) -> Any:
    """What the served model would answer to these rows."""
    served = NamedAnswers(pipeline) if contract.classes else pipeline
    return served.predict(rows[list(contract.features)])


def about(contract: Contract, params: AllParams) -> Record:
    """How to read this model's answers. Raises ParamsInvalid for slices of no column."""
    columns = (*contract.features, contract.target)
    strange = [name for name in params.evaluate.slices if name not in columns]
    if strange:
        raise ParamsInvalid(
            [f"evaluate.slices names {n!r}; there is {', '.join(columns)}" for n in strange]
        )
    return Record(
        problem=contract.problem,
        target=contract.target,
        features=contract.features,
        metric=params.metric,
        classes=contract.classes,
        positive=contract.positive,
    )


def score(
    pipeline: Pipeline, record: Record, contract: Contract, rows: pd.DataFrame
) -> dict[str, float]:
    """The problem's metrics on these rows."""
    truth = record.truth(rows)
    return metrics.compute(truth, truth.scores(answer(pipeline, contract, rows)))


def train(root: Path, params: AllParams) -> str:
    """Train on the prepared rows and log everything to the active or a new run; returns its id."""
    contract = Contract.read(root / paths.CONTRACT)
    parts = {
        n: pd.read_parquet(root / paths.PREPARED / f"{n}.parquet") for n in (TRAIN, VALID, HOLDOUT)
    }
    record = about(contract, params)
    model.build(contract, params.train)  # refuses what cannot work before a run is opened
    with track.run(root) as run_id:
        # First of all: the working copy may change while a long fit runs.
        made_from = origin.gather(root, params, parts, track.requirements(params.train.packages))
        track.params(
            {
                "data": params.data.model_dump(),
                "train": params.train.model_dump(),
                "evaluate": params.evaluate.model_dump(),
            }
        )
        track.params(
            {"columns": {"numeric": contract.numeric, "categorical": contract.categorical}}
        )
        track.datasets(root, params.data.path, parts)
        first = fit(contract, params, parts[TRAIN])
        track.metrics(TRAIN, score(first, record, contract, parts[TRAIN]))
        track.metrics(VALID, score(first, record, contract, parts[VALID]))
        both = pd.concat([parts[TRAIN], parts[VALID]], ignore_index=True)
        final = fit(contract, params, both)
        track.params({"estimator": final.named_steps["estimate"].get_params()})
        track.model(final, both[list(contract.features)], params.train.packages)
        sample = both.sample(
            min(params.evaluate.reference_rows, len(both)), random_state=params.train.seed
        ).reset_index(drop=True)
        answers = pd.DataFrame(answer(final, contract, sample))
        answers.columns = [f"{ANSWER}{c if c != 0 else 'prediction'}" for c in answers]
        track.keep(
            record,
            holdout=parts[HOLDOUT],
            reference=pd.concat([sample, answers], axis=1),
            origin=made_from,
        )
        track.lock(root)
    return run_id


@click.command(
    cls=Command,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.option("--output", default="", help="Folder for run.json; empty leaves the pipeline alone.")
@click.pass_context
def main(context: click.Context, output: str) -> None:
    """Train one model; `--NAME VALUE` overrides train.params.NAME."""
    root = find_root()
    params = all_params(root, overrides(context.args))
    prepared(root)
    run_id = train(root, params)
    click.echo(f"run {run_id}")
    if output:
        paths.write_json(root / output / "run.json", {"run_id": run_id})


def overrides(arguments: list[str]) -> dict[str, Any]:
    """`["--max_iter", "50"]` as `{"max_iter": 50}`; values are read as YAML."""
    pairs = list(zip(arguments[::2], arguments[1::2], strict=False))
    if len(arguments) % 2 or not all(name.startswith("--") for name, _ in pairs):
        raise click.UsageError("further parameters come as --NAME VALUE")
    try:
        return {name[2:]: load_yaml(value) for name, value in pairs}
    except yaml.YAMLError:
        raise click.UsageError(f"a value of {' '.join(arguments)} is not valid YAML") from None


if __name__ == "__main__":
    main()
