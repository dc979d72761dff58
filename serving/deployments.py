"""MLflow's deployments client for a gateway: `mlflow deployments predict -t understudy:http://...`.

MLflow loads this module by the entry point `understudy` of the group `mlflow.deployments`. A
deployment is a registered model that the gateway serves.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import click
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes
from mlflow.utils.proto_json_utils import NumpyEncoder, dump_input_data

from serving.wire import FORMS

SCHEME = "understudy:"
DEFAULT = "http://127.0.0.1:8080"
TOKEN = "UNDERSTUDY_TOKEN"  # noqa: S105 - the name of a variable
SECONDS = 60.0
"""For an answer; the gateway's own limit (serve.timeout) is shorter by default."""

_CODES = {
    400: codes.INVALID_PARAMETER_VALUE,
    401: codes.UNAUTHENTICATED,
    403: codes.PERMISSION_DENIED,
    404: codes.RESOURCE_DOES_NOT_EXIST,
    422: codes.INVALID_PARAMETER_VALUE,
    503: codes.TEMPORARILY_UNAVAILABLE,
}


class NotDone(MlflowException, click.ClickException):  # type: ignore[misc]
    """MLflow's own error for programs, and a sentence without a trace on its command line."""

    def __init__(self, sentence: str, code: int = codes.INTERNAL_ERROR) -> None:
        MlflowException.__init__(self, sentence, error_code=code)  # it calls the other's


class UnderstudyClient(BaseDeploymentClient):  # type: ignore[misc]
    """Speaks to one gateway; what is live is decided in the registry, and never here."""

    def __init__(self, target_uri: str) -> None:
        """Take a target such as `understudy:http://127.0.0.1:8080`. Raises NotDone."""
        super().__init__(target_uri)
        self.address = address(target_uri)

    # What a gateway is asked

    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """The models of the gateway: name, version, whether it answers. Raises NotDone."""
        _require_no_endpoint(endpoint)
        return [_short(name, found) for name, found in self._models().items()]

    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Everything that the gateway says of a model. Raises NotDone."""
        _require_no_endpoint(endpoint)
        models = self._models()
        if name not in models:
            raise self._unknown(name, models)
        return {**_short(name, models[name]), **models[name]}

    def predict(
        self,
        deployment_name: str | None = None,
        inputs: Any = None,
        endpoint: str | None = None,
    ) -> PredictionsResponse:
        """Predictions for a data frame, or for what else MLflow's scoring protocol takes.

        Without a name, those of the gateway's default model. Raises NotDone.
        """
        _require_no_endpoint(endpoint)
        if inputs is None:
            raise NotDone("there are no inputs to predict for", codes.INVALID_PARAMETER_VALUE)
        body = _body(inputs)
        path = f"/models/{quote(deployment_name, safe='')}" if deployment_name else ""
        status, said = self._ask(f"{path}/invocations", body.encode())
        if status == 404 and deployment_name and deployment_name not in (models := self._models()):
            raise self._unknown(deployment_name, models)
        if status != 200:
            raise self._refused(status, said)
        try:
            return PredictionsResponse.from_json(said)
        except (ValueError, MlflowException):
            raise self._no_gateway() from None

    # What the registry decides

    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> NoReturn:
        """Raises NotDone: a promotion does it."""
        del model_uri, flavor, config, endpoint
        _say_how(
            "a gateway serves what the registry has in Production: "
            f"`understudy promote VERSION --to production --model {name}` puts a version there, "
            f"`understudy serve --model {name}` serves it"
        )

    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> NoReturn:
        """Raises NotDone: a promotion or a rollback does it, and the gateway follows."""
        del model_uri, flavor, config, endpoint
        _say_how(
            "a gateway follows the registry by itself: "
            f"`understudy promote VERSION --to production --model {name}` changes what it serves, "
            f"`understudy rollback --model {name}` goes back"
        )

    def delete_deployment(
        self, name: str, config: dict[str, Any] | None = None, endpoint: str | None = None
    ) -> NoReturn:
        """Raises NotDone: who runs the gateway ends it."""
        del config, endpoint
        _say_how(
            f"to serve {name} no more, end `understudy serve`, or start it again without "
            f"`--model {name}`; `understudy rollback --model {name}` goes back to the one before"
        )

    # HTTP

    def _models(self) -> dict[str, dict[str, Any]]:
        status, said = self._ask("/status")
        if status in (401, 403):
            raise self._refused(status, said)
        try:
            models = json.loads(said)["models"]
            if status == 200 and all(isinstance(m, dict) for m in models.values()):
                return dict(models)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise self._no_gateway()

    def _ask(self, path: str, body: bytes | None = None) -> tuple[int, str]:
        """Status and text of the answer. Raises NotDone where there is none."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token := os.environ.get(TOKEN):
            if not token.isascii() or not token.isprintable():
                raise NotDone(f"{TOKEN} holds what no token has; it is one line of ASCII")
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.address + path, body, headers)  # noqa: S310
        try:
            with _OPENER.open(request, timeout=SECONDS) as response:
                return response.status, response.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
            sentence = (
                f"no gateway answers at {self.address} ({why}); `understudy serve` starts one, "
                "and the target names it: understudy:http://HOST:PORT"
            )
            raise NotDone(sentence, codes.TEMPORARILY_UNAVAILABLE) from None

    def _refused(self, status: int, said: str) -> NotDone:
        try:
            found = json.loads(said)
            sentence = f"{found['message']} ({found['error_code']}, status {status})"
        except (ValueError, KeyError, TypeError):
            return self._no_gateway()
        more = f"; set {TOKEN} to one that the gateway knows" if status == 401 else ""
        return NotDone(f"the gateway refused: {sentence}{more}", _CODES.get(status, 1))

    def _no_gateway(self) -> NotDone:
        return NotDone(
            f"what answers at {self.address} is no Understudy gateway; "
            "name one as understudy:http://HOST:PORT",
            codes.INVALID_PARAMETER_VALUE,
        )

    def _unknown(self, name: str, models: dict[str, Any]) -> NotDone:
        known = ", ".join(models)
        sentence = f"the gateway at {self.address} serves no model {name!r}; it serves {known}"
        return NotDone(sentence, codes.RESOURCE_DOES_NOT_EXIST)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection would take the token to another server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none."""
        del args, kwargs


_OPENER = urllib.request.build_opener(_NoRedirect)


def address(target: str) -> str:
    """The gateway's address in a target; `understudy` alone is DEFAULT. Raises NotDone."""
    rest = target.removeprefix(SCHEME.rstrip(":")).removeprefix(":").rstrip("/") or DEFAULT
    try:
        found = urlsplit(rest)
        right = found.scheme in ("http", "https") and found.hostname and found.port != 0
    except ValueError:  # a port that is no number
        right = False
    if not right or found.query or found.fragment or found.username:
        raise NotDone(
            f"{target[:200]!r} is no target; name a gateway, such as {SCHEME}{DEFAULT}",
            codes.INVALID_PARAMETER_VALUE,
        )
    return rest


def _body(inputs: Any) -> str:
    """A scoring request: text as it is, a mapping as one if it is one, data in MLflow's forms."""
    if isinstance(inputs, str):
        return inputs
    if isinstance(inputs, dict):
        whole = any(form in inputs for form in FORMS)
        return json.dumps(inputs if whole else {"inputs": inputs}, cls=NumpyEncoder)
    try:
        return str(dump_input_data(inputs))
    except TypeError:
        raise NotDone(
            f"inputs of type {type(inputs).__name__} cannot be sent; a data frame, a list, an "
            "array or a mapping can",
            codes.INVALID_PARAMETER_VALUE,
        ) from None


def _short(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """What MLflow's table of deployments shows."""
    return {
        "name": name,
        "flavor": "python_function",
        "version": found.get("version"),
        "ready": found.get("ready"),
    }


def _require_no_endpoint(endpoint: str | None) -> None:
    if endpoint is not None:
        raise NotDone(
            "a gateway has deployments and no endpoints; name the model with --name",
            codes.INVALID_PARAMETER_VALUE,
        )


def _say_how(sentence: str) -> NoReturn:
    raise NotDone(sentence, codes.INVALID_PARAMETER_VALUE)


def run_local(
    target: str,
    name: str,
    model_uri: str,
    flavor: str | None = None,
    config: dict[str, Any] | None = None,
) -> NoReturn:
    """Raises NotDone: `understudy serve` is the way."""
    del target, flavor, config
    _say_how(
        f"`understudy serve --model {name}` runs a gateway on this machine for what is in "
        f"Production; `mlflow models serve -m {model_uri}` serves any other version"
    )


def target_help() -> str:
    """What `mlflow deployments help -t understudy` prints."""
    return f"""\
Understudy: a gateway before `mlflow models serve` that follows the model registry.

Target       understudy:http://HOST:PORT; `understudy` alone is {DEFAULT}
Deployment   the name of a registered model that the gateway serves
Token        environment variable {TOKEN}, where the gateway asks for one
TLS          understudy:https://HOST:PORT; SSL_CERT_FILE names further certificates

    mlflow deployments list -t understudy:{DEFAULT}
    mlflow deployments get -t understudy:{DEFAULT} --name prices
    mlflow deployments predict -t understudy:{DEFAULT} --name prices --input-path rows.json

What is served is decided in the registry, so there is nothing to create, update or delete here:
`understudy promote`, `understudy rollback` and `understudy serve` do that. It takes no --config.
"""
