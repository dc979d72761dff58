"""First command of stage train: the tracking server answers, or a sentence says that it does not.

`mlflow run`, the second, would end in a page of traces.
"""

from __future__ import annotations

import urllib.error
import urllib.request

import click

from registry.console import Command
from registry.errors import RegistryUnreachable
from registry.settings import find_root, tracking_uri, without_password

SECONDS = 10


@click.command(cls=Command)
def main() -> None:
    """Ask the tracking server for its health; a database needs no asking."""
    uri = tracking_uri(find_root())
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
