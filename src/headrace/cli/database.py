"""The `--database` option and access to the gateway's database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.options import dotenv
from headrace.cli.terminal import hide
from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.runtime.sql import Database

database_option: Callable[[Any], Any] = click.option(
    "--database", metavar="URL", help="The gateway's database; by default DATABASE_URL, else .headrace/headrace.db."
)


@contextmanager
def opened(database: str | None) -> Iterator[tuple[Database, Path]]:
    """The gateway's database, and the directory of its journals. Raises ConfigurationError."""
    try:
        from headrace.gateway.general import DATABASE  # late: it loads the gateway
        from headrace.gateway.persistence import STATE, where  # late: see above
        from headrace.runtime.sql import Database  # late: see above
    except ModuleNotFoundError as error:
        raise ConfigurationError(f'the gateway needs {error.name}: pip install "headrace[gateway]"') from None
    environment = {**{name: value for name, value in dotenv().items() if name in (DATABASE, STATE)}, **os.environ}
    at = where(environment, database or "")
    if not at.database.startswith("sqlite"):  # a file path is not secret
        hide(at.database)
    found = Database(at.database)
    try:
        yield found, at.folder / "journal"
    finally:
        found.close()
