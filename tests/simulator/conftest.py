"""Simulators and ways to talk to them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import Running, running

KEY = "sk-good-key-1234"


def quick(name: str = "a", **more: Any) -> ProviderConfig:
    """A provider that answers at once with thirty tokens."""
    return ProviderConfig(**{"name": name, "ttft": 0.0, "gap": 0.0, "output_tokens": 30.0, **more})


def fleet(*providers: ProviderConfig, **more: Any) -> SimulatorConfig:
    return SimulatorConfig(**{"port": 0, "providers": providers, **more})


@dataclass
class Reply:
    """What came back over a raw socket. `end`: how the connection was left."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: str = "open"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One raw connection."""

    def __init__(self, base: str, timeout: float = 10.0) -> None:
        host, port = base.removeprefix("http://").split("/")[0].split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.buffer = b""

    def send(self, method: str, path: str, body: Any = None, version: str = "1.1", **headers: str) -> Wire:
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/{version}", "Host: x", f"Content-Length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        return self

    def chat(self, path: str = "/a/v1/chat/completions", *, simulate: str = "", **more: Any) -> Wire:
        body = {"model": "gpt-sim", "messages": [{"role": "user", "content": "hello"}], **more}
        return self.send("POST", path, body, authorization=f"Bearer {KEY}", x_simulate=simulate)

    def reply(self) -> Reply:
        """Read one reply to its end, proper or not."""
        reply = Reply()
        try:
            head = self._until(b"\r\n\r\n")
        except (EOFError, ConnectionResetError) as error:
            reply.end = "reset" if isinstance(error, ConnectionResetError) else "closed"
            return reply
        lines = head.decode().split("\r\n")
        reply.status = int(lines[0].split()[1])
        reply.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        try:
            self._body(reply)
        except ConnectionResetError:
            reply.end = "reset"
        except EOFError:
            reply.end = "closed"
        except TimeoutError:
            reply.end = "silent"
        return reply

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _body(self, reply: Reply) -> None:
        if "content-length" in reply.headers:
            self._exactly(reply, int(reply.headers["content-length"]))
        elif reply.headers.get("transfer-encoding") == "chunked":
            while size := int(self._until(b"\r\n"), 16):
                self._exactly(reply, size)
                self._until(b"\r\n")
            self._until(b"\r\n")
        else:
            while True:
                self._exactly(reply, 1)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def _exactly(self, reply: Reply, size: int) -> None:
        while size:
            if not self.buffer:
                self._more()
            part, self.buffer = self.buffer[:size], self.buffer[size:]
            reply.body += part
            size -= len(part)

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError
        self.buffer += data


def ask(base: str, path: str = "/a/v1/chat/completions", **more: Any) -> Reply:
    """One chat over a connection of its own."""
    with Wire(base) as wire:
        return wire.chat(path, **more).reply()


@pytest.fixture(scope="session")
def base() -> Iterator[Running]:
    """One provider "a" without limits, and "locked" with a key."""
    with running(fleet(quick(), quick("locked", api_keys=(KEY,)))) as base:
        yield base


@pytest.fixture
def wire(base: Running) -> Iterator[Wire]:
    wire = Wire(base)
    yield wire
    wire.close()


def events(body: bytes) -> list[Any]:
    """The data of an SSE body: parsed JSON, or the text where it is none."""
    found: list[Any] = []
    for block in body.decode().split("\n\n"):
        if block.startswith("data: "):
            data = block.removeprefix("data: ")
            try:
                found.append(json.loads(data))
            except ValueError:
                found.append(data)
    return found
