"""The group `understudy`: knows every command by name, imports one only to run it."""

from __future__ import annotations

import click

from cli.lazy import lazy

COMMANDS = {
    "status": "What is live, what waits, and where MLflow shows otherwise.",
    "history": "Every decision, with actor, reason and time.",
    "register": "Bring a run's model into the registry.",
    "promote": "Promote a version to staging or production, through the gates.",
    "rollback": "Go back to the former Production version.",
    "archive": "Take a version out of use.",
    "traffic": "Let another version try on a share of the traffic.",
    "serve": "Serve what is in Production, and follow the ledger.",
    "monitor": "What production sees, and how well the model does.",
    "score": "Predict a table or a folder of files, with what is in Production.",
    "package": "A version as an image, manifests, ONNX, Triton or for a cloud.",
    "token": "Make or remove a token for the gateway's callers.",
    "approve": "Vouch for a version on its way to Production.",
    "adopt": "Take over what was moved by hand in MLflow, through the gates.",
    "repair": "Make MLflow's stages and aliases show what the ledger says.",
    "explain": "Where an answer came from, down to data and code.",
    "lineage": "Where a version came from and where it has been.",
    "diff": "What changed from one version to another.",
    "reproduce": "Make a version again from its record, and compare.",
    "verify": "Check the chain, all artifacts, stages and aliases.",
    "key": "Make a key to sign ledger entries with.",
}


@click.group(
    cls=lazy("cli.", COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: understudy promote 2 --to production --reason 'better on last month'",
)
@click.version_option(package_name="understudy")
def main() -> None:
    """Promotion you can prove and a rollback that is rehearsed, on plain MLflow.

    The model's name comes from params.yaml, the server from MLFLOW_TRACKING_URI (default:
    mlflow.db in the project). Exit codes: 0 done, 1 refused or failed, 2 usage.
    """
