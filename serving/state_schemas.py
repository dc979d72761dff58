"""JSON Schemas of what the gateway says of itself and of what it did. Pure."""

from __future__ import annotations

from typing import Any

from serving.feedback import RESULTS
from serving.schemas import Schema


def _object(properties: dict[str, Schema], *optional: str, says: str = "") -> Schema:
    """An object that has all of these, and may have more."""
    found: Schema = {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }
    return {**found, "description": says} if says else found


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


TEXT: Schema = {"type": "string"}
TRUTH: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
VERSION: Schema = {"type": "integer", "minimum": 1}

_LEDGER = _object(
    {
        "entry": {**COUNT, "description": "Number of the last entry that counts."},
        "head": {**TEXT, "description": "Its hash."},
        "production": _or_null(VERSION),
        "says": TEXT,
        "followed": {**TRUTH, "description": "Whether the registry answers."},
        "reason": {**TEXT, "description": "Why it is not followed."},
    }
)
_ENTRY = _object(
    {"entry": COUNT, "kind": TEXT, "sentence": TEXT, "actor": TEXT, "reason": TEXT, "time": TEXT}
)
_SWAP = _object(
    {
        "at": {**NUMBER, "description": "Seconds since 1970."},
        "version": VERSION,
        "former": _or_null(VERSION),
        "seconds": {**NUMBER, "description": "From when the ledger was read to the change."},
        "kind": TEXT,
    }
)
_MODES = ("canary", "ab", "shadow")
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_PAIR: Schema = {**_list(_or_null(NUMBER)), "minItems": 2, "maxItems": 2}
_EXPERIMENT_HASH: Schema = {**TEXT, "description": "Hash of the entry that began it."}
TRAFFIC: Schema = {
    **_object(
        {
            "champion": VERSION,
            "challenger": VERSION,
            "weight": {**_SHARE, "description": "Share of the challenger."},
            "mode": {"enum": list(_MODES)},
            "experiment": _EXPERIMENT_HASH,
            "began": TEXT,
        }
    ),
    "type": ["object", "null"],
    "description": "What the ledger says of a running experiment; null where there is none.",
}
_FINDING = _object(
    {
        "name": TEXT,
        "found": TRUTH,
        "log_evidence": {
            **_or_null(NUMBER),
            "description": "Logarithm of the e-value; null where it is infinite.",
        },
        "log_needed": _or_null(NUMBER),
        "sentence": TEXT,
    }
)
_VERDICT: Schema = {
    **_object(
        {
            "decision": {"enum": ["promote", "abort", "wait"]},
            "reason": TEXT,
            "more": {
                **_or_null(COUNT),
                "description": "Units that are likely still needed; null where nobody can say.",
            },
            "interval": {**_PAIR, "type": ["array", "null"]},
            "findings": _list(_FINDING),
        }
    ),
    "type": ["object", "null"],
}
_POINT: Schema = {
    **_list(NUMBER),
    "minItems": 4,
    "maxItems": 4,
    "description": "Units, mean, lower and upper end.",
}
EXPERIMENT: Schema = {
    **_object(
        {
            "experiment": _EXPERIMENT_HASH,
            "mode": {"enum": [*_MODES, "guard"]},
            "champion": VERSION,
            "challenger": VERSION,
            "weight": _SHARE,
            "began": TEXT,
            "metric": {"enum": ["none", "error", "brier", "absolute"]},
            "alpha": NUMBER,
            "level": NUMBER,
            "margin": NUMBER,
            "minimum": COUNT,
            "units": {
                **_list(COUNT),
                "minItems": 2,
                "maxItems": 2,
                "description": "The champion's and the challenger's.",
            },
            "judged": {
                **COUNT,
                "description": "Of the challenger's those that say something of what decides.",
            },
            "dropped": {**COUNT, "description": "Copies that were not made."},
            "labels": _object({"counted": COUNT, "held": COUNT, "unfit": COUNT}),
            "verdict": _VERDICT,
            "path": {
                **_list(_POINT),
                "description": "Of the decisive difference, challenger minus champion.",
            },
            "open": {**TRUTH, "description": "Whether the challenger gets any request or copy."},
            "problem": {**TEXT, "description": "Why it does not go as agreed."},
            "decided": {**TEXT, "description": "What was done, or is waited for."},
            "ended": TRUTH,
        }
    ),
    "type": ["object", "null"],
    "description": "The experiment or guard, or the last one that ended; null before any.",
}
_CONTRACT: Schema = {
    **_object(
        {
            "checked": {**COUNT, "description": "Answered rows that were held against it."},
            "violations": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": COUNT},
                "description": "By column and rule: min, max, allowed, missing, type.",
            },
        }
    ),
    "type": ["object", "null"],
    "description": "Values that break data.contract; null where no predictions are kept.",
}
MODEL = _object(
    {
        "model": TEXT,
        "ready": TRUTH,
        "version": _or_null(VERSION),
        "processes": COUNT,
        "understudy": _or_null(VERSION),
        "rollback_ready": TRUTH,
        "rollback_milliseconds": _or_null(NUMBER),
        "rehearsed_at": _or_null(NUMBER),
        "rollback_reason": TEXT,
        "ledger": _LEDGER,
        "entries": _list(_ENTRY),
        "swaps": _list(_SWAP),
        "starting": _or_null(VERSION),
        "problem": {**TEXT, "description": "Why what the ledger wants is not served."},
        "problem_version": _or_null(VERSION),
        "waiting": COUNT,
        "counts": {"type": "object", "additionalProperties": COUNT},
        "restarts": COUNT,
        "traffic": TRAFFIC,
        "experiment": EXPERIMENT,
        "contract": _CONTRACT,
    },
    "traffic",
    "experiment",
    "contract",
    says="What is live, what stands by and what is wrong.",
)
_RECORDS: Schema = {
    **_object(
        {
            "offered": {**COUNT, "description": "written + lost + queued"},
            "written": COUNT,
            "lost": COUNT,
            "queued": COUNT,
            "problem": {**TEXT, "description": "Why not all is written at present."},
        }
    ),
    "type": ["object", "null"],
    "description": "Of the prediction log; null where none is kept.",
}
STATUS = _object(
    {
        "default": {**TEXT, "description": "The model of /invocations."},
        "seconds_up": NUMBER,
        "models": {
            "type": "object",
            "additionalProperties": {"$ref": "#/components/schemas/ModelStatus"},
        },
        "records": _RECORDS,
    }
)
READY = _object({"ready": TRUTH, "not_ready": _list(TEXT)})
LABELLED = _object(
    {
        "labels": {
            **_list(
                _object(
                    {
                        "result": {"enum": list(RESULTS)},
                        "prediction_id": {**TEXT, "description": "Empty where there is none."},
                    }
                )
            ),
            "description": "One for each label, in their order.",
        }
    }
)
ROLLED_BACK = _object(
    {
        "model": TEXT,
        "action": TEXT,
        "version": VERSION,
        "from": TEXT,
        "to": TEXT,
        "moves": _list(_object({"version": VERSION, "source": TEXT, "target": TEXT})),
        "sentence": TEXT,
        "ledger_entry": _or_null(COUNT),
        "answers": {**_or_null(VERSION), "description": "The version that answers now."},
        "milliseconds": NUMBER,
    }
)

# The Open Inference Protocol

_TENSOR = _object({"name": TEXT, "datatype": TEXT, "shape": _list({"type": "integer"})})
SERVER = _object({"name": TEXT, "version": TEXT, "extensions": _list(TEXT)})
LIVE = _object({"live": TRUTH})
ALL_READY = _object({"live": TRUTH, "ready": TRUTH})
MODEL_READY = _object({"name": TEXT, "ready": TRUTH})
METADATA = _object(
    {
        "name": TEXT,
        "versions": _list(TEXT),
        "platform": TEXT,
        "inputs": _list(_TENSOR),
        "outputs": _list(_TENSOR),
    }
)

COMPONENTS: dict[str, Any] = {
    "Status": STATUS,
    "ModelStatus": MODEL,
    "Ready": READY,
    "Labelled": LABELLED,
    "RolledBack": ROLLED_BACK,
    "Server": SERVER,
    "Live": LIVE,
    "AllReady": ALL_READY,
    "ModelReady": MODEL_READY,
    "Metadata": METADATA,
}
"""By the names that they have in the document."""
