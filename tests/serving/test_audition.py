"""Whether a version's rows may be joined is learnt from its own example."""

from __future__ import annotations

from serving import audition, wire


def test_an_example_with_gaps_is_read_as_any_other() -> None:
    """Else a model that was logged with a missing value would answer one row at a time."""
    body = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, "x"], [NaN, "y"]]}}'
    assert wire.read(body) is None
    found = wire.read(audition.with_nulls(body))
    assert found is not None
    assert found.count == 2
    assert wire.join([wire.row(found, 1)]) == (
        b'{"dataframe_split":{"columns":["a","b"],"data":[[null,"y"]]}}'
    )
    assert audition.with_nulls(b"no json") == b"no json"
