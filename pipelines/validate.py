"""Stage validate: resolves the column contract and holds the table against it."""

from __future__ import annotations

import click

from pipelines import data, paths, schema
from pipelines.params import data_params
from registry.console import Command
from registry.settings import find_root


@click.command(cls=Command)
def main() -> None:
    """Check every column; all violations are reported at once."""
    root = find_root()
    params = data_params(root)
    table = data.read(root, params.path)
    contract = schema.resolve(table, params)
    schema.validate(table, contract, params)
    (root / paths.CONTRACT).parent.mkdir(exist_ok=True)
    contract.write(root / paths.CONTRACT)
    how = "inferred" if contract.inferred else "from params.yaml"
    click.echo(f"{len(table):,} rows keep the contract; columns {how}:")
    for part in ("numeric", "categorical", "left_out", "classes"):
        names = getattr(contract, part)
        click.echo(f"  {part.replace('_', ' ')}: {', '.join(names) or '(none)'}")


if __name__ == "__main__":
    main()
