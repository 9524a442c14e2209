"""The Router over real sockets: the forms it accepts, what it sends, and what it rejects at construction; sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]


def entry(upstream: Upstream, name: str = "gpt", **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": "openai/m", "api_key": "sk-test", "base_url": upstream.url, **params}}


def test_the_users_own_form(client: Client, upstream: Upstream) -> None:
    """As the README of the users' backend has it: base_url and limits inside, and other limits beside."""
    router = headrace.Router(
        model_list=[
            {
                "model_name": "deepseek-ai/DeepSeek-V3.2-Exp",
                "litellm_params": {
                    "model": "openai/deepseek-ai/DeepSeek-V3.2-Exp",
                    "api_key": "sk-test",
                    "base_url": upstream.url,
                    "tpm": 80000,
                    "rpm": 1000,
                },
            },
            {
                "model_name": "vectors",
                "litellm_params": {
                    "model": "BAAI/bge-m3",
                    "custom_llm_provider": "openai",
                    "api_key": "sk-test",
                    "api_base": upstream.url,
                },
                "tpm": 500_000,
                "rpm": 2_000,
            },
        ]
    )
    answer = client.call("completion", model="deepseek-ai/DeepSeek-V3.2-Exp", messages=MESSAGES, on=router)
    assert answer.choices[0].message.content == "hello"
    assert upstream.seen[0].body["model"] == "deepseek-ai/DeepSeek-V3.2-Exp"
    upstream.answer(Reply({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "e"}))
    vectors = client.call("embedding", model="vectors", input=["a"], on=router)
    assert vectors.data[0]["embedding"] == [0.5]
    assert upstream.seen[1].body["model"] == "BAAI/bge-m3"
    assert router.get_model_names() == ["deepseek-ai/DeepSeek-V3.2-Exp", "vectors"]


def test_streams_and_text_completions(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream)])
    upstream.answer(Reply(pieces=sse(chunk("hel"), chunk("lo", "stop"))))
    chunks = client.call("completion", "gpt", MESSAGES, on=router, stream=True)
    assert "".join(item.choices[0].delta.content or "" for item in chunks) == "hello"
    upstream.answer(Reply({"id": "t", "choices": [{"text": "world", "index": 0}]}))
    assert client.call("text_completion", "gpt", "hello", on=router).choices[0].text == "world"


def test_parameters_of_a_deployment_stand_unless_the_caller_gives_his_own(client: Client, upstream: Upstream) -> None:
    router = headrace.Router(
        [entry(upstream, temperature=0.1, extra_body={"top_k": 3}, extra_headers={"X-Team": "a"})],
        default_litellm_params={"seed": 7, "temperature": 0.9},
    )
    client.call("completion", "gpt", MESSAGES, on=router)
    client.call("completion", "gpt", MESSAGES, on=router, temperature=0.5, extra_body={"top_k": 4})
    first, second = upstream.seen
    assert (first.body["temperature"], first.body["seed"], first.body["top_k"]) == (0.1, 7, 3)
    assert (second.body["temperature"], second.body["top_k"]) == (0.5, 4)
    assert first.headers["x-team"] == "a"


def test_options_among_the_defaults_were_sent_to_the_provider_as_parameters(client: Client, upstream: Upstream) -> None:
    router = headrace.Router(
        [entry(upstream)], default_litellm_params={"drop_params": True, "timeout": 7, "extra_headers": {"x-team": "a"}, "seed": 7}
    )
    client.call("completion", "gpt", MESSAGES, on=router)
    assert upstream.seen[0].body == {"model": "m", "messages": MESSAGES, "seed": 7}
    assert upstream.seen[0].headers["x-team"] == "a"


def test_an_alias_reaches_its_group(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream)], model_group_alias={"gpt-4": "gpt"})
    assert client.call("completion", "gpt-4", MESSAGES, on=router).choices[0].message.content == "hello"
    assert router.get_model_names() == ["gpt", "gpt-4"]


def test_the_decision_is_on_record(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply({"error": {"message": "boom"}}, status=500), Reply(CHAT))
    router = headrace.Router([entry(upstream, weight=1), entry(upstream, weight=2)])
    hidden = client.call("completion", "gpt", MESSAGES, on=router)._hidden_params
    assert hidden["model_id"] in router.get_model_ids()
    assert hidden["headrace"]["failed"] == [("server", "m")]
    assert hidden["headrace"]["waited"] >= 0


def test_deployments_come_and_go(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream)])
    added = router.add_deployment(entry(upstream, "claude"))
    assert router.get_model_names() == ["gpt", "claude"]
    assert router.get_deployment(added.id) is added
    assert client.call("completion", "claude", MESSAGES, on=router).choices[0].message.content == "hello"
    assert router.delete_deployment(added.id) is added
    assert router.delete_deployment(added.id) is None
    with pytest.raises(headrace.BadRequestError, match="no deployment serves 'claude'; model groups: 'gpt'"):
        client.call("completion", "claude", MESSAGES, on=router)
    router.set_model_list([entry(upstream, "new")])
    assert router.get_model_names() == ["new"]
    assert [item["model_name"] for item in router.model_list] == ["new"]


def test_deployments_are_looked_up_in_litellms_words(upstream: Upstream) -> None:
    first = {**entry(upstream), "model_info": {"id": "one", "tier": "free"}}
    router = headrace.Router([first, entry(upstream, "claude")], model_group_alias={"gpt-4": "gpt"})
    assert [item["model_name"] for item in router.get_model_list()] == ["gpt", "claude", "gpt-4"]
    assert router.get_model_list(model_name="gpt-4") == [{**first, "model_name": "gpt-4"}]
    assert router.get_model_list(model_name="nobody") == []
    assert router.get_model_ids(model_name="gpt") == ["one"]
    found = router.get_deployment(model_id="one")
    assert found is router.get_deployment_by_model_group_name("gpt")
    assert found is not None
    assert (found.model_name, found.litellm_params["model"], found.model_info) == ("gpt", "openai/m", {"id": "one", "tier": "free"})
    assert router.get_deployment_by_model_group_name("nobody") is None


@pytest.mark.parametrize("put", ["upsert_deployment", "set_model_list"])
def test_a_deployment_with_the_same_id_and_another_key_is_another(client: Client, upstream: Upstream, put: str) -> None:
    """It once went on with the old key."""

    def keyed(key: str) -> dict[str, Any]:
        params = {"model": "openai/m", "base_url": upstream.url, "api_key": key}
        return {"model_name": "gpt", "model_info": {"id": "one"}, "litellm_params": params}

    router = headrace.Router([keyed("sk-old-12345")])
    new = keyed("sk-new-12345")
    getattr(router, put)(new if put == "upsert_deployment" else [new])
    client.call("completion", "gpt", MESSAGES, on=router)
    assert router.get_model_ids() == ["one"]
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-new-12345"


def test_a_deployment_that_is_the_same_as_before_keeps_its_books(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream, rpm=1)])
    client.call("completion", "gpt", MESSAGES, on=router)
    router.set_model_list(router.get_model_list())
    with pytest.raises(headrace.RateLimitError):
        client.call("completion", "gpt", MESSAGES, on=router, max_wait=0)


def test_who_waits_while_all_deployments_are_swapped_goes_to_the_new_ones(upstream: Upstream) -> None:
    async def main() -> Any:
        queued = asyncio.Event()
        router = headrace.Router([entry(upstream, rpm=1)], on_event=lambda event: queued.set() if event.kind == "queued" else None)
        await router.acompletion("gpt", MESSAGES)
        waiting = asyncio.ensure_future(router.acompletion("gpt", MESSAGES))
        await queued.wait()
        router.set_model_list([entry(upstream, rpm=1, api_key="sk-another-12345")])
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(main()).choices[0].message.content == "hello"
    assert upstream.seen[1].headers["authorization"] == "Bearer sk-another-12345"


def test_a_call_may_bring_its_own_key_and_address(client: Client, upstream: Upstream) -> None:
    router = headrace.Router(
        [{"model_name": "gpt", "litellm_params": {"model": "openai/m", "api_key": "sk-other", "base_url": "http://127.0.0.1:9"}}]
    )
    client.call("completion", "gpt", MESSAGES, on=router, api_key="sk-mine-12345", base_url=upstream.url)
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-mine-12345"


def test_a_stream_abandoned_in_a_router_is_settled(upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=sse(*[chunk("word ")] * 5000), pause=0.001))
    router = headrace.Router([entry(upstream, tpm=100_000)])
    for _ in router.completion("gpt", MESSAGES, stream=True):
        break
    assert [row["in_flight"] for row in router.snapshot()["deployments"].values()] == [0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"routing_strategy": "fastest"}, "routing_strategy must be one of 'headroom'"),
        ({"num_retries": -1}, "num_retries must be a whole number"),
        ({"cooldown_time": "long"}, "cooldown_time must be a number of seconds"),
        ({"timeout": 0}, "timeout must be a positive number"),
        ({"max_wait": -1}, "max_wait must be a number of seconds"),
        ({"fallbacks": [{"gpt": ["nobody"]}]}, "name 'nobody'"),
    ],
)
def test_wrong_settings_are_named_at_construction(upstream: Upstream, options: dict[str, Any], said: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match=said):
        headrace.Router([entry(upstream)], **options)


def test_an_unknown_setting_is_refused_by_name(upstream: Upstream) -> None:
    with pytest.raises(headrace.ConfigurationError, match="no parameter 'allowed_fail'; did you mean 'allowed_fails'"):
        headrace.Router([entry(upstream)], allowed_fail=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["assistants_config", "plugins", "alerting_config"])
def test_what_litellm_has_and_we_have_not_says_what_to_use_instead(upstream: Upstream, name: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match=f"Router has no {name}: .+"):
        headrace.Router([entry(upstream)], **{name: {"a": 1}})
    headrace.Router([entry(upstream)], **{name: None})


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"model": "opnai/m", "base_url": None}, "deployment 'gpt' .opnai/m.*unknown provider 'opnai'"),
        ({"model": "groq/llama", "base_url": None, "api_key": None}, "deployment 'gpt' .groq/llama.*GROQ_API_KEY"),
        ({"base_url": "nowhere"}, "base_url must begin with http"),
        ({"rpm": -5}, r"model_list\[0\].litellm_params.rpm must be a whole number of at least 1, got the int -5"),
    ],
)
def test_a_deployment_that_cannot_work_is_refused_at_construction(
    upstream: Upstream, params: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(headrace.ConfigurationError, match=said):
        headrace.Router([entry(upstream, **params)])


def test_a_router_may_begin_without_deployments(client: Client, upstream: Upstream) -> None:
    router = headrace.Router([])
    with pytest.raises(headrace.BadRequestError, match="model groups: none yet, add_deployment adds them"):
        client.call("completion", "gpt", MESSAGES, on=router)
    router.add_deployment(entry(upstream))
    assert client.call("completion", "gpt", MESSAGES, on=router).choices


def test_no_repr_shows_a_key(upstream: Upstream) -> None:
    router = headrace.Router([entry(upstream, api_key="sk-very-secret-key")])
    shown = repr(router) + repr(router.get_deployment(router.get_model_ids()[0])) + repr(router._fleet.members)
    assert "very-secret" not in shown
