"""`import headrace` is cheap, as measured by what it imports and does, not by time."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

HEAVY = {
    "asyncio", "ssl", "socket", "selectors", "concurrent", "multiprocessing", "subprocess", "http", "email", "tomllib", "logging",
    "httptools", "click", "rich", "pydantic", "httpx2", "httpx", "aiohttp", "openai", "uvloop", "tiktoken", "redis", "valkey", "sqlite3",
    "hashlib", "hmac",
}  # fmt: skip

PROBE = """
import json, sys
before = set(sys.modules)
events = []
sys.addaudithook(lambda event, args: events.append(event))
import headrace
headrace.Router
headrace.completion
import threading
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "threads": threading.active_count(),
    "events": sorted({event for event in events if event.split(".")[0] in ("socket", "subprocess", "_thread", "ssl")}),
}))
"""


@cache
def probe(code: str = PROBE) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded: dict[str, object] = json.loads(done.stdout)
    return loaded


def loaded(found: dict[str, object]) -> set[str]:
    assert isinstance(found["modules"], list)
    return {name.split(".")[0] for name in found["modules"]}


def test_no_heavy_module_is_imported() -> None:
    assert not loaded(probe()) & HEAVY


def test_what_only_a_call_needs_is_imported_by_the_call() -> None:
    """Router and completion are available before the limiter, the dialects and the catalogue are imported."""
    there = set(map(str, probe()["modules"]))  # type: ignore[call-overload]
    assert not [
        name for name in there if name.startswith(("headrace.limits", "headrace.dialects", "headrace.providers", "headrace.models"))
    ]
    assert not there & {"headrace.core", "headrace.options", "headrace.routing.engine", "headrace.runtime.http_sync"}


def test_msgspec_is_the_only_third_party_import() -> None:
    # msgspec looks for typing_extensions where it happens to be installed; nobody needs it.
    assert loaded(probe()) - set(sys.stdlib_module_names) <= {"headrace", "msgspec", "typing_extensions"}


def test_it_starts_no_thread_and_opens_no_socket() -> None:
    assert probe()["threads"] == 1
    assert probe()["events"] == []


def test_the_probe_detects_a_heavy_import() -> None:
    """With an import that does all of it, the same probe finds all of it."""
    idler = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    loud = f"import asyncio, socket, threading; socket.socket().close(); {idler}"
    found = probe(PROBE.replace("headrace.Router\nheadrace.completion", loud))
    assert {"asyncio", "socket"} <= loaded(found)
    assert found["threads"] == 2
    assert "socket.__new__" in str(found["events"])


def test_a_gateway_starts_without_modules_that_only_some_calls_need() -> None:
    """Imports dominate a restart, so terminal tables, realtime sessions and the other database's driver are imported on demand."""
    found = probe(
        PROBE.replace("headrace.Router\nheadrace.completion", "import headrace.cli.app, headrace.cli.serve, headrace.gateway.worker")
    )
    assert not loaded(found) & {"rich", "websockets", "psycopg", "sqlalchemy", "pydantic", "redis", "opentelemetry", "openai"}
