"""Cache breakpoints of Claude's prompt cache, given with `cache_control_injection_points`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream

import headrace

MESSAGES = [{"role": "system", "content": "Long rules."}, {"role": "user", "content": "Hello"}]
ANSWER = {"id": "m", "type": "message", "role": "assistant", "content": [], "stop_reason": "end_turn", "usage": {}}
POINTS = [{"location": "message", "role": "system"}, {"location": "message", "index": -1}, {"location": "message", "index": 9}]


def sent(upstream: Upstream) -> tuple[Any, Any]:
    body = upstream.seen[0].body
    return body["system"], body["messages"][-1]["content"]


def test_the_points_are_marked_where_the_provider_knows_them(client: Client, upstream: Upstream) -> None:
    upstream.replies = [Reply(ANSWER)]
    client.call("completion", "anthropic/claude-sonnet-4-5", MESSAGES, base_url=upstream.url, cache_control_injection_points=POINTS)
    system, last = sent(upstream)
    assert system[-1]["cache_control"] == {"type": "ephemeral"}
    assert last[-1]["cache_control"] == {"type": "ephemeral"}


def test_a_deployment_has_points_of_its_own(client: Client, upstream: Upstream) -> None:
    upstream.replies = [Reply(ANSWER)]
    params = {
        "model": "anthropic/claude-sonnet-4-5",
        "api_key": "k",
        "api_base": upstream.url,
        "cache_control_injection_points": POINTS[:1],
    }
    router = headrace.Router([{"model_name": "g", "litellm_params": params}])
    client.call("completion", "g", MESSAGES, on=router)
    system, last = sent(upstream)
    assert system[-1]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in str(last)


def test_others_are_not_told_of_them(client: Client, upstream: Upstream) -> None:
    client.call("completion", "openai/m", MESSAGES, cache_control_injection_points=POINTS)
    assert "cache" not in str(upstream.seen[0].body)


@pytest.mark.parametrize("points", ["system", [{"location": "message"}], [{"role": "system"}]])
def test_what_is_no_point_is_refused_by_name(client: Client, upstream: Upstream, points: Any) -> None:
    with pytest.raises(headrace.BadRequestError, match="cache_control_injection_points"):
        client.call("completion", "anthropic/m", MESSAGES, base_url=upstream.url, cache_control_injection_points=points)
