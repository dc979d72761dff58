"""A model repository that Triton could load: what is said of the model is what the model is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from delivery.errors import TritonRefused
from tests.delivery.mixed import FEATURES, opened

pytest.importorskip("skl2onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

import onnx
from google.protobuf import json_format, text_format

from delivery import triton


@pytest.fixture(scope="module")
def made(mixed_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with opened(mixed_template, tmp_path_factory.mktemp("triton")) as mixed:
        mixed("triton", "--output", "out", "--batch", "256", "--delay", "900")
        return mixed.root / "out"


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "out")) / "models"


def test_the_layout_and_what_it_says(repository: Path) -> None:
    files = {p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()}
    assert files == {"m/config.pbtxt", "m/1/model.onnx"}
    found = triton.read((repository / "m" / "config.pbtxt").read_text())
    assert (found.name, found.backend, found.max_batch_size) == ("m", "onnxruntime", 256)
    assert found.dynamic_batching.max_queue_delay_microseconds == 900
    assert list(found.version_policy.specific.versions) == [1]
    kinds = {t.name: (triton._names(t), list(t.dims)) for t in found.input}
    assert list(kinds.values()) == [("TYPE_STRING", [1])] * 2 + [("TYPE_FP64", [1])] * 2
    outputs = {t.name: triton._names(t) for t in found.output}
    assert outputs == {
        "prediction": "TYPE_STRING",
        "probability_no": "TYPE_FP64",
        "probability_yes": "TYPE_FP64",
    }
    said = json.loads((repository.parent / "signature.json").read_text())
    assert [i["onnx"] for i in said["inputs"]] == list(kinds)
    assert [i["name"] for i in said["inputs"]] == list(FEATURES)


def test_triton_itself_reads_it_so(repository: Path) -> None:
    reason = "tritonclient, which carries Triton's own ModelConfig, is not installed"
    official: Any = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason=reason)
    text = (repository / "m" / "config.pbtxt").read_text()
    found = text_format.Parse(text, official.ModelConfig())
    ours = triton.read(text)
    assert json_format.MessageToDict(found) == json_format.MessageToDict(ours)


WRONG = {
    "another name": ('name: "m"', 'name: "n"', "it names 'n', its folder 'm'"),
    "another version": ("versions: [ 1 ]", "versions: [ 2 ]", "it does not serve version 1"),
    "another type": ("TYPE_STRING dims", "TYPE_FP64 dims", "its inputs are"),
    "another shape": ("dims: [ 1 ]", "dims: [ 2 ]", "its inputs are"),
    "no output": ("output [", "input [", "its inputs are"),
    "no batches": ("max_batch_size: 256", "max_batch_size: 0", "in batches"),
    "no such field": ("backend:", "back_end:", "no field named"),
    "no such type": ("TYPE_FP64", "TYPE_FP63", "TYPE_FP63"),
}


def test_what_does_not_fit_is_refused(repository: Path, tmp_path: Path) -> None:
    triton.check(repository, "m", 1)
    text = (repository / "m" / "config.pbtxt").read_text()
    for case, (old, new, why) in WRONG.items():
        broken = shutil.copytree(repository, tmp_path / case)
        assert old in text
        (broken / "m" / "config.pbtxt").write_text(text.replace(old, new))
        with pytest.raises(TritonRefused, match="does not fit the ONNX model") as caught:
            triton.check(broken, "m", 1)
        assert why in str(caught.value), case


def test_a_model_of_one_batch_size_is_refused(repository: Path) -> None:
    path = repository / "m" / "1" / "model.onnx"
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)
    with pytest.raises(TritonRefused, match="of one batch size"):
        triton.check(repository, "m", 1)
