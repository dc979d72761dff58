"""A version as ONNX, checked: the files that the deliveries made of it have in common."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from delivery.errors import (
    AnswersDiffer,
    ExtraMissing,
    InputsRefused,
    NotConvertible,
    ReferenceMissing,
    ToleranceNotPositive,
)
from delivery.making import Making
from registry import record
from registry.answer import PREDICTION, PROBABILITY
from registry.errors import RegistryRefused
from registry.store import load
from serving import signature

if TYPE_CHECKING:
    from delivery.onnx_check import Checked, Latency, Session
    from delivery.onnx_model import Input

TOLERANCE = 1e-5
MODEL, SIGNATURE = "model.onnx", "signature.json"
SAMPLE, EXPECTED, README = "sample.json", "expected.json", "README.md"
SAMPLE_ROWS = 5
_NUMBERS = ("boolean", "integer", "long", "float", "double")


@dataclass(frozen=True)
class Exported:
    """An ONNX model that answers as the version does."""

    model: bytes
    checked: Checked
    latency: Latency
    signature: Mapping[str, Any]
    """What goes into SIGNATURE: `inputs` and `outputs`, each a list of mappings."""

    def sentence(self, made: Making) -> str:
        """What was made, for a person."""
        return (
            f"{made.chosen.model} v{made.chosen.version} as ONNX in {made.output}: largest "
            f"difference to scikit-learn {self.checked.largest:.2g} on {self.checked.rows:,} kept "
            f"rows and {self.checked.edges:,} at the edges; {len(self.model):,} bytes; one row "
            f"{self.latency.onnx:.3f} ms, scikit-learn {self.latency.scikit:.3f} ms"
        )


def require(tolerance: float) -> None:
    """What is asked before anything is fetched. Raises ToleranceNotPositive, ExtraMissing."""
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ToleranceNotPositive(tolerance)
    for package in ("skl2onnx", "onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ExtraMissing(package, "onnx")


def export(made: Making, tolerance: float = TOLERANCE) -> Exported:
    """Convert a version and hold it against scikit-learn on the rows that its run kept.

    Writes nothing; facts and metrics of the delivery are set. Raises InputsRefused,
    NotConvertible, ReferenceMissing, AnswersDiffer.
    """
    from delivery import onnx_check, onnx_model

    inputs = _inputs(made)
    pipeline = _pipeline(made)
    kept = _kept(made, [i.name for i in inputs])
    built = onnx_model.build(pipeline, inputs, made.chosen.facts())
    model = built.SerializeToString(deterministic=True)
    try:
        session = onnx_check.Session(model, inputs)
    except Exception as error:  # the runtime lacks an operator, or a type of one
        raise NotConvertible("the model", f"onnxruntime does not run it: {error}"[:300]) from None
    checked = onnx_check.compare(pipeline, session, inputs, kept)
    if not checked.largest <= tolerance:
        raise AnswersDiffer(checked.largest, tolerance, checked.where)
    rows = kept["the reference sample"]
    done = Exported(
        model,
        checked,
        onnx_check.latency(pipeline, session, rows),
        _signature(made, inputs, checked.required, session),
    )
    made.facts |= {
        "largest_difference": checked.largest,
        "tolerance": tolerance,
        "rows_compared": checked.rows + checked.edges,
    }
    made.metrics |= {
        "largest_difference": checked.largest,
        "bytes": float(len(model)),
        "onnx_ms": done.latency.onnx,
        "sklearn_ms": done.latency.scikit,
    }
    return done


def _inputs(made: Making) -> list[Input]:
    from delivery.onnx_model import Input

    try:
        found = signature.read(made.model)
    except (ValueError, OSError) as error:
        raise InputsRefused(made.chosen.version, str(error)) from None
    if not found.by_column or not found.inputs:
        raise InputsRefused(made.chosen.version, "its inputs have no names")
    for column in found.inputs:
        if column.type != "string" and column.type not in _NUMBERS:
            why = f"the column {column.name!r} holds {column.type}"
            raise InputsRefused(made.chosen.version, why)
    return [Input(c.name, c.type == "string") for c in found.inputs]


def _pipeline(made: Making) -> Any:
    """The scikit-learn model itself, without what names its answers."""
    from sklearn.base import BaseEstimator

    found = load(made.model)
    raw = found.get_raw_model() if hasattr(found, "get_raw_model") else None
    if not isinstance(raw, BaseEstimator):
        raise NotConvertible(f"version {made.chosen.version}", "it is no scikit-learn model")
    return raw


def _kept(made: Making, columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The rows that the version's run kept, by what they are; text as text, numbers as float64."""
    version = made.chosen.version
    run = made.store.shown(made.chosen.model).versions[version].run_id
    try:
        folder = made.store.download_run_folder(run, record.FOLDER, made.model.parent / "kept")
        reference, _ = record.reference(folder)
        tables = {"the reference sample": reference, "the held-out rows": record.holdout(folder)}
        return {name: _typed(rows[list(columns)]) for name, rows in tables.items()}
    except (RegistryRefused, OSError, ValueError, KeyError) as error:
        raise ReferenceMissing(version, str(error)) from None


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    numbers = [c for c in rows.columns if pd.api.types.is_numeric_dtype(rows[c])]
    return rows.astype(dict.fromkeys(numbers, float))


def _signature(
    made: Making, inputs: Sequence[Input], required: Sequence[str], session: Session
) -> dict[str, Any]:
    shapes = {i.name: "text, empty where it is missing" for i in inputs if i.text}
    declared = signature.read(made.model).inputs
    needed = {c.name for c in declared if c.required} | set(required)
    return {
        "model": made.chosen.model,
        "version": made.chosen.version,
        "shape": "(rows, 1), each input and output",
        "inputs": [
            {
                "name": i.name,
                "onnx": name,
                "type": "text" if i.text else "number",
                "meaning": shapes.get(i.name, "a double, NaN where it is missing"),
                "required": i.name in needed,
                "may_be_missing": i.name not in required,
            }
            for i, name in zip(inputs, session.names, strict=True)
        ],
        "outputs": [
            {"name": name, "type": kind, "meaning": _meaning(name, kind)}
            for name, kind in session.outputs.items()
        ],
    }


def _meaning(name: str, kind: str) -> str:
    if name != PREDICTION:
        return f"the probability of {name.removeprefix(PROBABILITY)}"
    return "the value" if kind == "double" else "the most probable class"


def write(done: Exported, folder: Path) -> None:
    """The model and its signature."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(done.model)
    _dump(folder / SIGNATURE, done.signature)


def write_sample(made: Making, folder: Path) -> None:
    """A few rows as the scoring protocol has them, and what scikit-learn answers to them."""
    names = [i.name for i in _inputs(made)]
    reference, answers = record.reference(made.model.parent / "kept" / record.FOLDER)
    rows = _typed(reference[names].head(SAMPLE_ROWS))
    cells = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    _dump(folder / SAMPLE, {"dataframe_split": {"columns": names, "data": cells}})
    _dump(folder / EXPECTED, {"predictions": answers.head(SAMPLE_ROWS).to_dict("records")})


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


USE = """\
import json
import numpy as np
import onnxruntime

inputs = json.load(open("signature.json"))["inputs"]
table = json.load(open("sample.json"))["dataframe_split"]
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
feeds = {}
for column in inputs:
    cells = [row[table["columns"].index(column["name"])] for row in table["data"]]
    if column["type"] == "text":
        feeds[column["onnx"]] = np.array([[cell or ""] for cell in cells], dtype=object)
    else:
        feeds[column["onnx"]] = np.array([[cell] for cell in cells], dtype=float)
names = [output.name for output in session.get_outputs()]
for name, values in zip(names, session.run(names, feeds)):
    print(name, values.ravel().tolist())
"""


def readme(made: Making, done: Exported) -> str:
    """What the folder holds and how it is used; the code runs in it with onnxruntime and numpy."""
    checked = done.checked
    return f"""# {made.chosen.model} v{made.chosen.version} as ONNX

`model.onnx` is the whole pipeline, preprocessing included. It differs from scikit-learn by at most
{checked.largest:.2g} on {checked.rows:,} kept rows and {checked.edges:,} at the edges
(missing values, unseen categories, numbers far outside).

`signature.json` says what goes in and comes out, `sample.json` holds a few rows,
`expected.json` what scikit-learn answers to them, `understudy.json` which version this is and the
SHA-256 of every file.

In this folder, with `pip install onnxruntime`:

```python
{USE}```
"""
