"""Changing a Router's options at run time."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import Router
from headrace.errors import ConfigurationError


def entry(name: str, **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": "openai/m", "api_key": "k", **params}}


def test_other_options_and_deployments_count_from_now_on() -> None:
    router = Router([entry("a", mock_response="from a", rpm=1)], num_retries=0, max_wait=0)
    assert router.completion("a", [{"role": "user", "content": "hi"}]).choices[0].message.content == "from a"
    both = [entry("a", mock_response="from a", rpm=1), entry("b", mock_response="from b", model="openai/other")]
    router.set_options(both, num_retries=0, max_wait=0, fallbacks=[{"a": ["b"]}])
    assert router.completion("a", [{"role": "user", "content": "hi"}]).choices[0].message.content == "from b", "what was used still counts"
    assert router.get_model_names() == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"fallbacks": [{"a": ["nobody"]}]}, "nobody"),
        ({"num_retries": -1}, "num_retries"),
        ({"redis_url": "redis://h:1"}, "redis_url"),
        ({"max_queue": 3}, "max_queue"),
    ],
)
def test_options_that_cannot_work_change_nothing(options: dict[str, Any], named: str) -> None:
    router = Router([entry("a", mock_response="from a")])
    with pytest.raises(ConfigurationError, match=named):
        router.set_options([entry("b")], **options)
    assert router.get_model_names() == ["a"]
    assert router.completion("a", [{"role": "user", "content": "hi"}]).choices[0].message.content == "from a"


def test_defaults_that_change_are_sent_by_deployments_that_stay() -> None:
    router = Router([entry("a", mock_response="x")], default_litellm_params={"temperature": 0.1})
    before = router._fleet.members
    router.set_options(default_litellm_params={"temperature": 0.9})
    (member,) = router._fleet.members.values()
    assert member.to.defaults["temperature"] == 0.9
    assert list(before) == list(router._fleet.members)
