"""What a model takes and gives, from its file MLmodel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving import signature
from serving.signature import Column


def model(folder: Path, **sides: Any) -> Path:
    text = {k: json.dumps(v) for k, v in sides.items()}
    (folder / "MLmodel").write_text(yaml.safe_dump({"signature": text} if sides else {}))
    return folder


def test_columns(tmp_path: Path) -> None:
    found = signature.read(
        model(
            tmp_path,
            inputs=[
                {"type": "double", "name": "a", "required": True},
                {"type": "string", "name": "b", "required": False},
            ],
            outputs=[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}],
            params=[{"name": "limit", "type": "long", "default": 3, "shape": None}],
        )
    )
    assert found.inputs == (Column("a", "double"), Column("b", "string", required=False))
    assert found.outputs == (Column("", "double", shape=(-1, 2)),)
    assert found.params == (Column("limit", "long", default=3),)
    assert found.by_column


@pytest.mark.parametrize(
    "inputs",
    [
        [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}],
        [{"type": "double"}],
    ],
)
def test_tensors_and_columns_without_names(tmp_path: Path, inputs: Any) -> None:
    assert not signature.read(model(tmp_path, inputs=inputs)).by_column


def test_no_signature(tmp_path: Path) -> None:
    assert signature.read(model(tmp_path)) == signature.NOTHING_KNOWN


@pytest.mark.parametrize("spec", [None, {}, {"dtype": "float32", "shape": "x"}])
def test_a_signature_that_cannot_be_read(tmp_path: Path, spec: Any) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        signature.read(model(tmp_path, inputs=[{"type": "tensor", "tensor-spec": spec}]))


def test_that_of_a_real_model(tiny: Any, tmp_path: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(tiny.uri)
    run = mlflow.MlflowClient().get_run(tiny.runs["good"])
    model_id = run.outputs.model_outputs[0].model_id
    files = Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(tmp_path)))
    found = signature.read(files)
    assert [(c.name, c.type, c.required) for c in found.inputs] == [
        ("a", "double", True),
        ("b", "double", True),
    ]
    assert found.outputs
    assert found.by_column
