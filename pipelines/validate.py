"""Stage validate: resolves the column contract, holds the table against it, and types it."""

from __future__ import annotations

import click

from pipelines import conform, paths, schema, table
from pipelines.params import data_params
from registry.console import Command
from registry.settings import find_root


@click.command(cls=Command)
def main() -> None:
    """Check every column; all violations are reported at once."""
    root = find_root()
    params = data_params(root)
    raw = table.read(root, params.path)
    contract = schema.resolve(raw, params)
    typed = conform.validate(raw, contract, params)
    (root / paths.TABLE).parent.mkdir(exist_ok=True)
    typed.to_parquet(root / paths.TABLE, index=False)
    contract.write(root / paths.CONTRACT)
    how = "inferred" if contract.inferred else "from params.yaml"
    click.echo(f"{len(typed):,} rows keep the contract; columns {how}:")
    for part in ("numeric", "categorical", "left_out", "classes"):
        names = getattr(contract, part)
        click.echo(f"  {part.replace('_', ' ')}: {', '.join(names) or '(none)'}")


if __name__ == "__main__":
    main()
