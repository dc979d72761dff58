"""Logs training and evaluation to MLflow: with plugins.py, the only module here that imports it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.pipeline import Pipeline

from pipelines.errors import EstimatorRefused
from pipelines.paths import PARENT_RUN
from registry import lineage, record, settings, store

settings.quiet()

# ruff: isort: off
# mlflow loads pipelines.plugins while it is imported; the other way round would be a circle.
import mlflow  # noqa: E402
import mlflow.sklearn  # noqa: E402
from mlflow.data.meta_dataset import MetaDataset  # noqa: E402
from mlflow.models import Model, infer_signature  # noqa: E402
from pipelines.plugins import DvcSource  # noqa: E402
# ruff: isort: on

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REQUIREMENTS = ("mlflow", "scikit-learn", "numpy", "scipy", "pandas", "skops")
"""What every served model needs, beside the packages that its estimator comes from."""
EXAMPLE_ROWS = 5
MODEL_NAME = "model"


@contextmanager
def run(root: Path, run_id: str | None = None) -> Iterator[str]:
    """An active run, with its lineage tags: a given one, that of `mlflow run`, or a new one."""
    uri = settings.tracking_uri(root)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if run_id is None and "MLFLOW_RUN_ID" not in os.environ:
        mlflow.set_experiment(settings.registry_params(root).model)
    # `mlflow run` names its own run in the environment; work on another one must not end that.
    environment = os.environ.pop("MLFLOW_RUN_ID", None) if run_id else None
    try:
        with store.reaching(uri), mlflow.start_run(run_id=run_id) as active:
            if run_id is None:  # a run that is resumed keeps the lineage it was trained with
                mlflow.set_tags(lineage.collect(root).tags())
            if run_id is None and PARENT_RUN in os.environ:
                mlflow.set_tag("mlflow.parentRunId", os.environ[PARENT_RUN])
            yield str(active.info.run_id)
    finally:
        if environment:
            os.environ["MLFLOW_RUN_ID"] = environment


def params(values: Mapping[str, Any]) -> None:
    """Log parameters; nested ones as `a.b.c`, lists as JSON."""
    mlflow.log_params(dict(_flat("", values)))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield re.sub(r"[^\w\-. :/]", "_", prefix), text[:6000]


def metrics(part: str, values: Mapping[str, float]) -> None:
    """Log metrics as `PART/NAME`; without a part, by their own names."""
    mlflow.log_metrics({f"{part}/{k}" if part else k: v for k, v in values.items()})


def datasets(root: Path, path: str, parts: Mapping[str, pd.DataFrame]) -> None:
    """Log each part as an input of the run, with its DVC source; the digest is DVC's md5."""
    facts = lineage.collect(root)
    source = DvcSource(path, facts.data_md5, facts.git_commit)
    for name, rows in parts.items():
        # MLflow's own pandas dataset hashes and profiles every value, which takes seconds.
        dataset = MetaDataset(
            source,
            name=f"{path}-{name}",
            digest=facts.data_md5 or None,
            schema=infer_signature(_telling(rows)).inputs,
        )
        mlflow.log_input(dataset, context=name)
        mlflow.log_param(f"rows.{name}", len(rows))


def _telling(rows: pd.DataFrame) -> pd.DataFrame:
    """A few rows that show the same schema as all: of each column one missing value, if any."""
    gaps = rows.isna()
    first = [int(gaps[c].to_numpy().argmax()) for c in rows.columns if gaps[c].any()]
    return rows.iloc[[*range(min(100, len(rows))), *first]]


def figures(drawn: Mapping[str, Figure]) -> None:
    """Log pictures as `plots/NAME.png`."""
    for name, figure in drawn.items():
        mlflow.log_figure(figure, f"plots/{name}.png")


def files(folder: Path, into: str) -> None:
    """Log a folder's files."""
    mlflow.log_artifacts(str(folder), into)


def lock(root: Path) -> None:
    """Keep the lock beside the run: the exact environment it was trained in."""
    if (root / lineage.LOCK).exists():
        mlflow.log_artifact(str(root / lineage.LOCK))


def model(pipeline: Pipeline, features: pd.DataFrame, packages: tuple[str, ...]) -> str:
    """Log a fitted Pipeline with signature, input example and pinned requirements.

    Returns the model's URI. The artifact is a scikit-learn model in skops format; for a
    classifier it also carries the few lines that name the classes in its answer
    (docs/decisions/0003-answers.md). It needs no package of ours.
    """
    example = features.head(EXAMPLE_ROWS)
    classifier = hasattr(pipeline, "predict_proba")
    flavor: Any = _Named if classifier else mlflow.sklearn
    with warnings.catch_warnings():
        # MLflow warns of integer columns though there are none (all numbers are float64).
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(_telling(features), _answers(pipeline, example, classifier))
        logged = Model.log(
            artifact_path=None,
            name=MODEL_NAME,
            flavor=flavor,
            sk_model=pipeline,
            signature=signature,
            input_example=example,
            pip_requirements=requirements(packages),
            skops_trusted_types=trusted_types(pipeline, packages),
        )
    return str(logged.model_uri)


def load(run_id: str) -> Any:
    """The model that a run logged, as a Python function."""
    found = mlflow.get_run(run_id).outputs.model_outputs
    return mlflow.pyfunc.load_model(f"models:/{found[-1].model_id}")


def requirements(packages: tuple[str, ...]) -> list[str]:
    """What a served model needs, each pinned to the version it was trained with.

    `packages` are top-level names that may be imported; their distributions are found.
    """
    known = packages_distributions()
    extra = [known[name][0] for name in packages if name in known]
    return [f"{name}=={version(name)}" for name in dict.fromkeys([*REQUIREMENTS, *extra])]


def trusted_types(pipeline: Pipeline, packages: tuple[str, ...]) -> list[str]:
    """The types that skops must be told to trust when it loads this pipeline.

    Only types of the allowed packages and numpy's; scikit-learn's own wrapping of its functions
    in functools.partial comes with them. Raises EstimatorRefused for any other.
    """
    import skops.io

    unknown = skops.io.get_untrusted_types(data=skops.io.dumps(pipeline))
    allowed = {*packages, "sklearn", "numpy", "functools"}
    strange = [name for name in unknown if name.partition(".")[0] not in allowed]
    if strange:
        raise EstimatorRefused(
            type(pipeline[-1]).__name__,
            f"it holds {', '.join(strange)}, which train.packages does not allow",
        )
    return list(unknown)


def _answers(pipeline: Pipeline, example: pd.DataFrame, classifier: bool) -> Any:
    if not classifier:
        return pipeline.predict(example)
    from pipelines.named_answers import NamedAnswers

    return NamedAnswers(pipeline).predict(example)


class _Named:
    """The scikit-learn flavour, with a loader for MLflow's Python function that names classes."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, sk_model: Pipeline, **rest: Any) -> None:
        code = (Path(__file__).parent / "named_answers.py").read_text()
        # The name carries a hash: two versions in one process must not share one module.
        name = f"named_answers_{hashlib.sha256(code.encode()).hexdigest()[:8]}"
        with tempfile.TemporaryDirectory() as folder:
            shipped = Path(folder) / f"{name}.py"
            shipped.write_text(code)
            mlflow.sklearn.save_model(
                sk_model, path, mlflow_model=mlflow_model, code_paths=[str(shipped)], **rest
            )
        mlflow_model.flavors["python_function"]["loader_module"] = name
        mlflow_model.save(str(Path(path) / "MLmodel"))


def keep(
    folder_record: record.Record,
    *,
    holdout: pd.DataFrame,
    reference: pd.DataFrame,
    origin: record.Origin | None = None,
) -> None:
    """Log what gates, monitoring and reproduction need of this run (registry.record)."""
    with tempfile.TemporaryDirectory() as folder:
        record.write(Path(folder), folder_record, holdout=holdout, reference=reference)
        if origin is not None:
            mlflow.set_tag(record.ORIGIN_TAG, record.write_origin(Path(folder), origin))
        mlflow.log_artifacts(folder, record.FOLDER)
