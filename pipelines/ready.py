"""First command of stage train: refuses with a sentence what the second, `mlflow run`, cannot do.

That one opens a run before our code is asked, and shows a page of traces for a server that is down.
"""

from __future__ import annotations

import urllib.error
import urllib.request

import click

from pipelines import model, paths
from pipelines.params import all_params
from pipelines.schema import Contract
from registry.console import Command
from registry.errors import RegistryUnreachable
from registry.settings import find_root, tracking_uri, without_password

SECONDS = 10


@click.command(cls=Command)
def main() -> None:
    """Build the estimator and ask the tracking server for its health."""
    root = find_root()
    contract = Contract.read(paths.need(root, paths.CONTRACT, "validate"))
    model.build(contract, all_params(root).train)
    reach(tracking_uri(root))


def reach(uri: str) -> None:
    """Raises RegistryUnreachable if a server does not answer; a database needs no asking."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        address = f"{without_password(uri).rstrip('/')}/health"
        urllib.request.urlopen(address, timeout=SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return  # it answers, and what it thinks of us is for MLflow to find out
    except (OSError, ValueError) as error:
        why = str(getattr(error, "reason", error)).rpartition("] ")[2].lower()
        raise RegistryUnreachable(without_password(uri), why) from None


if __name__ == "__main__":
    main()
