"""Stage prepare: drops rows without a label, and splits."""

from __future__ import annotations

import click
import pandas as pd

from pipelines import paths, split
from pipelines.params import data_params
from pipelines.schema import Contract
from registry.console import Command
from registry.settings import find_root


@click.command(cls=Command)
def main() -> None:
    """Write train, valid and holdout as Parquet."""
    root = find_root()
    params = data_params(root)
    contract = Contract.read(paths.need(root, paths.CONTRACT, "validate"))
    table = pd.read_parquet(paths.need(root, paths.TABLE, "validate"))
    labelled = table.dropna(subset=[contract.target])
    parts = split.split(labelled, time=contract.time, valid=params.valid, holdout=params.holdout)
    if contract.classes:
        split.require_classes(parts, contract.target)
    folder = root / paths.PREPARED
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        rows.to_parquet(folder / f"{name}.parquet", index=False)
    unlabelled = len(table) - len(labelled)
    shares = ", ".join(f"{name} {len(rows):,}" for name, rows in parts.items())
    click.echo(f"{shares} rows; {unlabelled:,} without a label left out")


if __name__ == "__main__":
    main()
