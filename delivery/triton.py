"""A version as a model repository of NVIDIA's Triton Inference Server, read back and checked.

The layout is `models/NAME/config.pbtxt` and `models/NAME/VERSION/model.onnx`; the configuration is
Triton's ModelConfig in protobuf's text format, of which the fields in FIELDS are used
(https://github.com/triton-inference-server/common, protobuf/model_config.proto).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from delivery import onnx_export
from delivery.errors import TritonRefused
from delivery.making import Making
from delivery.onnx_export import Exported

MODELS, CONFIG = "models", "config.pbtxt"
BATCH = 1024
"""Rows in one batch."""
DELAY = 500
"""Microseconds that a request may wait for others."""
TYPES: dict[int, str] = {
    onnx.TensorProto.STRING: "TYPE_STRING",
    onnx.TensorProto.DOUBLE: "TYPE_FP64",
    onnx.TensorProto.INT64: "TYPE_INT64",
}
FIELDS = {
    "ModelConfig": {
        "name": "string", "backend": "string", "max_batch_size": "int32", "input": "*Tensor",
        "output": "*Tensor", "dynamic_batching": "Batching", "instance_group": "*Group",
        "version_policy": "Policy",
    },
    "Tensor": {"name": "string", "data_type": "DataType", "dims": "*int64"},
    "Batching": {"max_queue_delay_microseconds": "uint64"},
    "Group": {"kind": "Kind", "count": "int32"},
    "Policy": {"specific": "Specific"},
    "Specific": {"versions": "*int64"},
}  # fmt: skip
_ENUMS = {"DataType": ["TYPE_INVALID", *TYPES.values()], "Kind": ["KIND_AUTO", "KIND_CPU"]}


def write(made: Making, done: Exported, *, batch: int = BATCH, delay: int = DELAY) -> None:
    """Write the repository and hold it against the model in it. Raises TritonRefused.

    `batch` is the most rows of one batch, `delay` in microseconds.
    """
    name, number = made.chosen.model, made.chosen.version
    place = made.folder / MODELS / name
    onnx_export.write(done, place / str(number))
    # Triton takes a folder of a version to hold the model and nothing else.
    (place / str(number) / onnx_export.SIGNATURE).rename(made.folder / onnx_export.SIGNATURE)
    onnx_export.write_sample(made, made.folder)
    model = onnx.load_from_string(done.model)
    (place / CONFIG).write_text(config(model, name, number, batch=batch, delay=delay))
    check(made.folder / MODELS, name, number)


def config(model: onnx.ModelProto, name: str, version: int, *, batch: int, delay: int) -> str:
    """config.pbtxt: each input and output is one value per row, and rows are batched."""
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {batch}",
        *(_tensor("input", value) for value in model.graph.input),
        *(_tensor("output", value) for value in model.graph.output),
        f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        f"version_policy {{ specific {{ versions: [ {version} ] }} }}",
    ]
    return "\n".join(lines) + "\n"


def _tensor(side: str, value: onnx.ValueInfoProto) -> str:
    kind = TYPES[value.type.tensor_type.elem_type]
    return f"{side} [ {{ name: {_quoted(value.name)} data_type: {kind} dims: [ 1 ] }} ]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # escapes what protobuf's text format escapes


def check(models: Path, name: str, version: int) -> None:
    """Hold a model's config.pbtxt against the ONNX model beside it. Raises TritonRefused."""
    found = read((models / name / CONFIG).read_text())
    if found.name != name:
        raise TritonRefused(f"it names {found.name!r}, its folder {name!r}")
    if list(found.version_policy.specific.versions) != [version]:
        raise TritonRefused(f"it does not serve version {version}")
    model = onnx.load(models / name / str(version) / onnx_export.MODEL)
    for side in ("input", "output"):
        said = {t.name: (_names(t), list(t.dims)) for t in getattr(found, side)}
        has = {v.name: _described(v) for v in getattr(model.graph, side)}
        if found.max_batch_size < 1 or said != has:
            raise TritonRefused(f"its {side}s are {said} in batches, the model's {has}")


def _names(tensor: Any) -> str:
    return str(
        tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values[tensor.data_type].name
    )


def _described(value: onnx.ValueInfoProto) -> tuple[str, list[int]]:
    """Type and shape of one row; the first dimension must be of any length: it is the batch."""
    rows, *rest = value.type.tensor_type.shape.dim
    if rows.HasField("dim_value"):
        return "of one batch size", []
    return TYPES[value.type.tensor_type.elem_type], [d.dim_value for d in rest]


def read(text: str) -> Any:
    """A ModelConfig in text format. Raises TritonRefused for a field or value that it has not."""
    try:
        return text_format.Parse(text, _message()())
    except text_format.ParseError as error:
        raise TritonRefused(str(error)) from None


def _message() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="understudy.proto", syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _field(message.field.add(name=field, number=number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelConfig"))


def _field(field: Any, kind: str) -> None:
    plain = kind.removeprefix("*")
    field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
    if plain in FIELDS or plain in _ENUMS:
        field.type = field.TYPE_MESSAGE if plain in FIELDS else field.TYPE_ENUM
        field.type_name = plain
    else:
        field.type = getattr(field, f"TYPE_{plain.upper()}")
