"""The gateway's OpenAPI document and requests generated from it: none that it allows causes a server error or a hang."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import KEY
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.admin.api import AdminApi
from headrace.gateway.openapi import described
from headrace.gateway.persistence import Where
from headrace.gateway.routes import ROUTES, route_or_none

EXAMPLES = int(os.environ.get("HEADRACE_EXAMPLES", "4"))
"""Of each operation; many more for `make fuzz-gateway`."""
FAULTS = (500, 502, 504)
PATIENCE = 30.0
"""Seconds after which an answer is taken for a hang."""


@pytest.fixture(scope="module")
def place(upstream: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("described")
    router = priced(upstream)
    router.delete_deployment("second")  # slow: everything here is tried many times
    with kept(router, Where(f"sqlite:///{folder / 'headrace.db'}", folder)) as (base, state):
        yield Gateway(base, state)


def test_the_description_names_every_route_once() -> None:
    document = described(None)["paths"]
    told = {(method.upper(), path) for path, methods in document.items() for method in methods}
    filled = [(method, path.replace("{model}", "m").replace("{id}", "i")) for method, path in told]
    reached = {(method, row.path.pattern) for method, path in filled for row in ROUTES if row.method == method and row.path.fullmatch(path)}
    assert reached == {(row.method, row.path.pattern) for row in ROUTES}
    own = [(method, path) for method, path in filled if not path.startswith(("/health", "/metrics", "/openapi"))]
    assert all(route_or_none(method, path) is not None for method, path in own)


def test_a_summary_is_one_line_and_the_rest_a_description(place: Gateway) -> None:
    """A docstring of several paragraphs was a summary as a whole, line breaks included."""
    health = place.ask("/openapi.json")["paths"]["/health"]["get"]
    assert health["summary"].startswith("Send a small test call to each deployment")
    assert "\n" not in health["summary"]
    assert health["description"].startswith("`cached`: seconds")


def test_the_description_says_what_a_chat_takes_and_not_what_is_the_gateways(place: Gateway) -> None:
    document = place.ask("/openapi.json")
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert chat["required"] == ["messages", "model"]
    assert chat["properties"]["temperature"] == {"type": ["number", "null"]}
    assert not {"api_key", "base_url", "seal", "tenant"} & set(chat["properties"])
    key = document["paths"]["/key/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert key["rpm_limit"] == {"type": "integer", "minimum": 1}
    place.ask("/openapi.json", key="sk-nobody", status=401)


DESK = AdminApi(*[cast("Any", None)] * 4)
"""Describes itself, and answers nothing."""
DESCRIBED = described(DESK)
OPERATIONS = [(method, path) for path, methods in DESCRIBED["paths"].items() for method in methods]


@cache
def schema() -> Any:
    return schemathesis.openapi.from_dict(DESCRIBED)


@pytest.mark.timeout(300)  # whoever comes first makes the schema's strategies, most of all a chat's; a hang is what PATIENCE sees
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_nothing_that_the_description_allows_is_a_fault(place: Gateway, method: str, path: str) -> None:
    operation = schema()[path][method]
    faults: list[str] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def tried(case: Any) -> None:
        answer = case.call(base_url=place.base, headers={"authorization": f"Bearer {KEY}"}, timeout=PATIENCE)
        if answer.status_code in FAULTS:
            faults.append(f"{case.body!r}: {answer.status_code} {answer.text[:300]}")

    tried()
    assert faults == []


# ---- what no description allows ------------------------------------------------------------------------------------------


def sent(place: Gateway, path: str, content: bytes, kind: str = "application/json") -> int:
    headers = {"authorization": f"Bearer {KEY}", "content-type": kind}
    try:
        with urllib.request.urlopen(urllib.request.Request(place.base + path, content, headers), timeout=PATIENCE) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            error.read()
            return error.code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = (
    "messages", "input", "prompt", "model", "contents", "tools", "stream", "max_tokens", "documents", "query", "system", "metadata",
    "response_format", "stop", "requests", "content", "generationConfig", "input_file_id", "voice", "stream_options", "tool_choice",
)  # fmt: skip
bodies = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(st.sampled_from(WORDS), json_values, max_size=8).map(lambda body: json.dumps({"model": "gpt", **body}).encode()),
    st.dictionaries(st.sampled_from(WORDS), json_values, max_size=8).map(lambda body: json.dumps(body).encode()[:-2]),
    st.integers(1, 5000).map(lambda depth: b'{"messages":' + b"[" * depth + b"]" * depth + b"}"),
    st.integers(1, 5000).map(lambda depth: b'{"a":' * depth),
)
ASKED = sorted(
    {path.replace("{model}", "gpt") for path, methods in described(None)["paths"].items() if "{id}" not in path and "post" in methods}
)


@pytest.mark.parametrize("path", ASKED)
def test_nonsense_is_refused_and_is_no_fault(place: Gateway, path: str) -> None:
    faults: list[tuple[int, bytes]] = []

    @settings(max_examples=3 * EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(content=bodies)
    def tried(content: bytes) -> None:
        status = sent(place, path, content)
        if status in FAULTS:
            faults.append((status, content))

    tried()
    assert faults == []


@pytest.mark.parametrize(
    "said",
    [
        b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"POST /v1/chat/completions HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"GET /%ff%fe/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused_at_once(place: Gateway, said: bytes) -> None:
    at = urlsplit(place.base)
    with socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=PATIENCE) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        got = connection.recv(100)
    assert not got or got.split()[1].startswith(b"4")
    assert place.ask("/health/liveliness") == {"status": "alive"}
