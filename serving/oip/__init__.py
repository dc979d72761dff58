"""The Open Inference Protocol V2 over REST, for models that take a table. Pure.

https://github.com/kserve/open-inference-protocol (inference_rest.md, required_api.md). A request is
turned into MLflow's `dataframe_split`, so that it is batched with all others, and the scoring
server's answer into tensors. Data are JSON; of Triton's extensions none is spoken.
"""

from serving.oip.answer import answer, error_body
from serving.oip.datatypes import ANSWER, DATATYPES, NAMED
from serving.oip.request import ID_LIMIT, Asked, infer
from serving.oip.service import (
    Route,
    live,
    metadata,
    model_ready,
    ready,
    require_version,
    route,
    server,
)

__all__ = [
    "ANSWER",
    "DATATYPES",
    "ID_LIMIT",
    "NAMED",
    "Asked",
    "Route",
    "answer",
    "error_body",
    "infer",
    "live",
    "metadata",
    "model_ready",
    "ready",
    "require_version",
    "route",
    "server",
]
