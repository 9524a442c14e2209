"""A simulated provider, and the command line in a pipe and on a terminal."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cli.shell import Program, Terminal

from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import Running, running

KEY = "sk-test-0123456789abcdef"
CLEARED = ("LLM_", "EMBEDDING_", "OPENAI_", "GROQ_", "NO_COLOR", "FORCE_COLOR", "TERM", "HEADRACE", "_HEADRACE", "COLUMNS", "LINES")
"""Beginnings of the variables that would change what the command line does or shows."""


@pytest.fixture(scope="session")
def providers() -> Iterator[Running]:
    """Providers that answer at once (`fast`), that take their time (`slow`), that think aloud (`thinker`)."""
    fast = ProviderConfig(name="fast", api_keys=(KEY,), ttft=0.0, gap=0.0, output_tokens=30.0)
    slow = ProviderConfig(name="slow", ttft=0.0, gap=0.05, output_tokens=400.0)
    thinker = ProviderConfig(name="thinker", ttft=0.0, gap=0.0, output_tokens=20.0, reasoning_tokens=12.0, reasoning_content=True)
    with running(SimulatorConfig(port=0, seed=1, providers=(fast, slow, thinker))) as base:
        yield base


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and an environment that names no provider."""
    for name in os.environ:
        if name.startswith(CLEARED):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(place: Path, providers: Running, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, with settings that name the fast provider."""
    for group, model in (("LLM", "gpt-sim"), ("EMBEDDING", "embed-sim")):
        monkeypatch.setenv(f"{group}_PROVIDER", "openai")
        monkeypatch.setenv(f"{group}_MODEL", model)
        monkeypatch.setenv(f"{group}_PROVIDER_BASE_URL", providers.url("fast"))
        monkeypatch.setenv(f"{group}_PROVIDER_API_KEY", KEY)
        monkeypatch.setenv(f"{group}_RPM", "1000")
        monkeypatch.setenv(f"{group}_TPM", "100000")
    return place


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: Path) -> Program:
    """The command line in this process, in an empty working directory, its output in a pipe."""
    return Program(capfd, monkeypatch)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts the command line on a terminal of its own."""
    opened: list[Terminal] = []

    def start(*arguments: str, **options: int) -> Terminal:
        opened.append(Terminal(arguments, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def upstream_without_list() -> Iterator[str]:
    """A provider that answers chats and knows no /models, as some small servers do."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _ChatsOnly)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join(5)


class _ChatsOnly(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say(404, {"error": {"message": "Not Found"}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "h"}
        self._say(200, {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "length"}]})

    def _say(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: tests have their own output."""
