"""What coding agents send with every call, for every provider behind the gateway."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.gateway.conftest import KEY, serving

from headrace.gateway.config import Config, Settings
from headrace.simulator.server import Running

MESSAGES = [{"role": "user", "content": "hi"}]
CLAUDE_CODE = {
    "model": "gpt", "max_tokens": 100, "messages": MESSAGES, "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
}  # fmt: skip
CODEX = {
    "model": "gpt", "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
    "store": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "one",
    "tools": [{"type": "web_search"}, {"type": "namespace", "name": "mcp", "tools": []}],
}  # fmt: skip


def config(upstream: str, **options: Any) -> Config:
    params = {"model": "siliconflow/gpt-sim", "api_key": "sk-upstream", "base_url": f"{upstream}/sim/v1"}
    return Config([{"model_name": "gpt", "litellm_params": params}], options, Settings(key=KEY))


@pytest.fixture
def base(upstream: Running) -> Iterator[str]:
    made = config(upstream)
    with serving(made.router(), made.settings) as address:
        yield address


def post(base: str, path: str, body: Any) -> tuple[int, Any, Any]:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, json.dumps(body).encode(), headers)) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read())


@pytest.mark.parametrize("said", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}])
def test_a_conversation_that_the_provider_does_not_hold_began_anew_in_silence(base: str, said: Any) -> None:
    """What only OpenAI knows is left out by the gateway's own choice; what was said before was left out with it."""
    status, _, answer = post(base, "/v1/responses", {"model": "gpt", "input": "And another.", **said})
    assert (status, answer["error"]["code"]) == (400, "previous_response_not_found")
    made = post(base, "/v1/responses", {"model": "gpt", "input": "Name a river."})[2]
    status, _, answer = post(base, "/v1/responses", {"model": "gpt", "input": "And another.", "previous_response_id": made["id"]})
    assert (status, answer["error"]["param"]) == (400, "previous_response_id")
    assert post(base, "/v1/responses", {"model": "gpt", "input": "And another.", "drop_params": True, **said})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "left_out"),
    [("/v1/messages", CLAUDE_CODE, "context_management"), ("/v1/responses", CODEX, "web_search")],
)
def test_agents_were_refused_for_what_only_their_own_provider_knows(base: str, path: str, body: Any, left_out: str) -> None:
    status, headers, answer = post(base, path, body)
    assert status == 200, answer
    assert left_out in headers["x-headrace-left-out"]


def test_a_configuration_may_have_it_refused(upstream: Running) -> None:
    made = config(upstream, default_litellm_params={"drop_params": False})
    with serving(made.router(), made.settings) as base:
        status, _, answer = post(base, "/v1/messages", CLAUDE_CODE)
    assert status == 400
    assert "context_management" in answer["error"]["message"]


def test_an_answer_to_which_all_was_said_names_nothing(base: str) -> None:
    status, headers, _ = post(base, "/v1/messages", {"model": "gpt", "max_tokens": 100, "messages": MESSAGES})
    assert status == 200
    assert "x-headrace-left-out" not in headers


def test_an_agent_asked_for_two_minutes_for_a_model_that_is_not_there(base: str) -> None:
    """It was told to try again: elsewhere, where a caller cannot go."""
    status, headers, _ = post(base, "/v1/messages", {"model": "nobody", "max_tokens": 100, "messages": MESSAGES})
    assert (status, headers["x-should-retry"]) == (404, "false")
