"""What the tests of packages share: the project of tests/delivery/mixed.py, made when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.delivery.mixed import Mixed


@pytest.fixture(scope="session")
def mixed_template(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database behind `mixed`; its artifacts are shared, and nothing writes to them."""
    from tests.delivery.mixed import make_store

    return make_store(migrated, tmp_path_factory.mktemp("mixed"))


@pytest.fixture
def mixed(mixed_template: Path, tmp_path: Path) -> Iterator[Mixed]:
    """A project on a fresh copy of that store."""
    from tests.delivery.mixed import opened

    with opened(mixed_template, tmp_path) as found:
        yield found
