"""CORS: scripts of other origins may call if the configuration allows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.gateway.conftest import CHAT, KEY, router_over, serving

from headrace.errors import ConfigurationError
from headrace.gateway.config import Settings
from headrace.gateway.general import GENERAL
from headrace.simulator.server import Running

SITE = "https://chat.example.com"


@pytest.fixture(scope="module")
def client(upstream: Running) -> Iterator[httpx.Client]:
    with serving(router_over(str(upstream)), Settings(key=KEY, origins=(SITE,))) as base, httpx.Client(base_url=base) as client:
        yield client


def leave(answer: httpx.Response) -> str | None:
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("stream", [False, True])
def test_a_page_that_is_named_may_call_and_others_may_not(client: httpx.Client, stream: bool) -> None:
    body = {"model": "gpt", "max_tokens": 5, "stream": stream, **CHAT}
    keyed = {"authorization": f"Bearer {KEY}"}
    for origin, expected in ((SITE, SITE), ("https://else.example.com", None)):
        answer = client.post("/v1/chat/completions", json=body, headers={**keyed, "origin": origin})
        assert (answer.status_code, leave(answer)) == (200, expected)


def test_a_browser_that_asks_first_is_told_without_a_key(client: httpx.Client) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-lang"}
    answer = client.options("/v1/chat/completions", headers={**asks, "origin": SITE})
    assert (answer.status_code, leave(answer)) == (204, SITE)
    assert answer.headers["access-control-allow-headers"] == asks["access-control-request-headers"]
    assert client.options("/v1/chat/completions", headers={**asks, "origin": "https://else.example.com"}).status_code == 401


def test_a_page_may_read_why_it_was_refused(client: httpx.Client) -> None:
    answer = client.get("/v1/models", headers={"origin": SITE})
    assert (answer.status_code, leave(answer)) == (401, SITE)


@pytest.mark.parametrize("value", ["chat.example.com", ["https://a.test/path"], 1])
def test_what_is_no_site_is_named(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="allow_origins must be"):
        GENERAL["allow_origins"].read("general_settings.allow_origins", value)
