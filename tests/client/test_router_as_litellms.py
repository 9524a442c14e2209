"""What programs written for litellm's Router rely on: all forms of fallbacks, patterns, names, mock responses; sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.upstream import Client, Upstream

import headrace

MESSAGES = [{"role": "user", "content": "hi"}]


def entry(name: str, said: Any = None, **params: Any) -> dict[str, Any]:
    """A deployment that says its own name, or what it is told to."""
    own = {"model": "openai/m", "api_key": "sk-test", "mock_response": f"from {name}" if said is None else said}
    return {"model_name": name, "litellm_params": {**own, **params}}


def said(client: Client, router: headrace.Router, model: str, **options: Any) -> str:
    answer = client.call("completion", model, options.pop("messages", MESSAGES), on=router, **options)
    return str(answer.choices[0].message.content)


def failing(name: str) -> dict[str, Any]:
    return entry(name, "litellm.InternalServerError")


@pytest.mark.parametrize("fallbacks", [["b"], [{"a": ["b"]}], {"a": ["b"]}, [{"*": ["b"]}], [{"model": "b"}], [{"c": ["a"]}, "b"]])
def test_a_call_may_bring_its_fallbacks_in_any_of_litellms_forms(client: Client, fallbacks: Any) -> None:
    router = headrace.Router([failing("a"), entry("b")], num_retries=0)
    assert said(client, router, "a", fallbacks=fallbacks) == "from b"


@pytest.mark.parametrize("options", [{}, {"fallbacks": ["b"]}])
def test_a_call_may_want_no_fallbacks(client: Client, options: Any) -> None:
    """The word went to the provider, and the call to the next group."""
    router = headrace.Router([failing("a"), entry("b")], num_retries=0, fallbacks=[{"a": ["b"]}])
    with pytest.raises(headrace.InternalServerError):
        said(client, router, "a", disable_fallbacks=True, **options)
    assert said(client, router, "a", disable_fallbacks=False) == "from b"


def test_a_fallback_with_options_of_its_own_is_asked_with_them(client: Client, upstream: Upstream) -> None:
    there = {"mock_response": None, "base_url": upstream.url}
    router = headrace.Router([failing("a"), entry("b", **there)], num_retries=0)
    other = [{"role": "user", "content": "in other words"}]
    client.call(
        "completion",
        "a",
        MESSAGES,
        on=router,
        temperature=0.1,
        top_p=0.5,
        fallbacks=[{"model": "b", "messages": other, "temperature": 0.9}],
    )
    body = upstream.seen[0].body
    assert (body["messages"], body["temperature"], body["top_p"]) == (other, 0.9, 0.5)
    assert "fallbacks" not in body


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        ("b", "fallbacks must be a list"),
        ([3], r"fallbacks\[0\] must be a model group's name"),
        ([{"a": "b"}], r"fallbacks\[0\]: the fallbacks of a group"),
    ],
)
def test_fallbacks_in_no_form_at_all_are_refused_by_place(client: Client, fallbacks: Any, message: str) -> None:
    with pytest.raises(headrace.BadRequestError, match=message):
        said(client, headrace.Router([entry("a")]), "a", fallbacks=fallbacks)


def test_a_fallback_that_only_a_pattern_serves_is_asked_by_its_own_name(client: Client, upstream: Upstream) -> None:
    wild = entry("openai/*", model="openai/*", base_url=upstream.url, mock_response=None)
    router = headrace.Router([failing("a"), wild], fallbacks=[{"a": ["openai/gpt-5"]}], num_retries=0)
    client.call("completion", "a", MESSAGES, on=router)
    assert [seen.body["model"] for seen in upstream.seen] == ["gpt-5"]


def test_a_name_of_a_pattern_falls_back_to_another_name_of_the_same_pattern(client: Client, upstream: Upstream) -> None:
    wild = entry("openai/*", model="openai/*", base_url=upstream.url, mock_response=None)
    router = headrace.Router([wild], default_fallbacks=["openai/good"], num_retries=0)
    client.call("completion", "openai/bad", MESSAGES, on=router, mock_testing_fallbacks=True)
    assert [seen.body["model"] for seen in upstream.seen] == ["good"]


def test_several_stars_are_each_given_on(client: Client, upstream: Upstream) -> None:
    wild = entry("eu/*/*:free", model="openai/*-of-*", base_url=upstream.url, mock_response=None)
    client.call("completion", "eu/meta/llama:free", MESSAGES, on=headrace.Router([wild]))
    assert upstream.seen[0].body["model"] == "meta-of-llama"


def test_an_alias_with_fallbacks_of_its_own_name_uses_them(client: Client) -> None:
    router = headrace.Router([failing("a"), entry("b")], model_group_alias={"x": "a"}, fallbacks=[{"x": ["b"]}], num_retries=0)
    assert said(client, router, "x") == "from b"
    with pytest.raises(headrace.InternalServerError):
        said(client, router, "a")


@pytest.mark.parametrize(
    ("rehearsal", "behind", "error"),
    [
        ("mock_testing_fallbacks", "fallbacks", headrace.InternalServerError),
        ("mock_testing_context_fallbacks", "context_window_fallbacks", headrace.ContextWindowExceededError),
        ("mock_testing_content_policy_fallbacks", "content_policy_fallbacks", headrace.ContentPolicyViolationError),
        ("mock_testing_rate_limit_error", "fallbacks", headrace.RateLimitError),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_fallbacks_can_be_rehearsed(client: Client, rehearsal: str, behind: str, error: type[Exception], stream: bool) -> None:
    """The first group fails unasked, as litellm's mock_testing_… says; who has nothing behind it learns of that failure."""
    router: Any = headrace.Router([entry("a"), entry("b")], **{behind: [{"a": ["b"]}]})  # type: ignore[arg-type]
    answer = client.call("completion", "a", MESSAGES, on=router, stream=stream, **{rehearsal: True})
    text = "".join(chunk.choices[0].delta.content or "" for chunk in answer) if stream else answer.choices[0].message.content
    assert text == "from b"
    with pytest.raises(error):
        client.call("completion", "b", MESSAGES, on=router, stream=stream, **{rehearsal: True})


def test_a_rehearsal_is_never_sent(client: Client, upstream: Upstream) -> None:
    client.call("completion", "openai/m", MESSAGES, api_key="sk-test", base_url=upstream.url, mock_testing_fallbacks=True)
    assert upstream.seen[0].body.keys() == {"model", "messages"}


def test_a_rehearsed_silence_ends_with_the_first_group(client: Client) -> None:
    router = headrace.Router([entry("a"), entry("b")], fallbacks=[{"a": ["b"]}], num_retries=0)
    assert said(client, router, "a", mock_timeout=True, timeout=0.05) == "from b"


def test_a_deployment_can_be_called_by_its_id(client: Client) -> None:
    twins = [{**entry("a", name), "model_info": {"id": name}} for name in ("one", "two")]
    router = headrace.Router(twins)
    assert {said(client, router, "two") for _ in range(8)} == {"two"}
    with pytest.raises(headrace.BadRequestError, match="no deployment serves 'three'"):
        said(client, router, "three")


def test_a_fallback_may_name_one_deployment_by_its_id(client: Client) -> None:
    """And the group behind that one is asked as a whole again."""
    twins = [
        {**entry("b", "litellm.InternalServerError" if name == "bad" else name), "model_info": {"id": name}} for name in ("bad", "two")
    ]
    router = headrace.Router([failing("a"), *twins], fallbacks=[{"a": ["two"]}], num_retries=0)
    assert {said(client, router, "a") for _ in range(8)} == {"two"}
    router = headrace.Router([failing("a"), *twins, entry("c")], fallbacks=[{"a": ["bad", "c"]}], num_retries=2)
    assert said(client, router, "a") == "from c"


class Busy(Exception):
    status_code = 503


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (Exception("content filtering policy"), headrace.ContentPolicyViolationError),
        (Exception("maximum context length is 9 tokens"), headrace.ContextWindowExceededError),
        (Exception("broken"), headrace.InternalServerError),
        (Busy("later"), headrace.ServiceUnavailableError),
    ],
)
def test_anybodys_exception_as_a_mock_counts_as_the_failure_that_it_tells_of(client: Client, raised: Any, error: type[Exception]) -> None:
    """Symptom: it went past retries and fallbacks as it was."""
    bad = headrace.Router([entry("a", raised)], num_retries=0)
    with pytest.raises(error):
        said(client, bad, "a")
    assert said(client, headrace.Router([entry("a", raised), entry("b")], num_retries=0, fallbacks=[{"a": ["b"]}]), "a") == "from b"


def test_default_fallbacks_that_nobody_serves_yet_are_told_of_and_left_out(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    router = headrace.Router([failing("a")], default_fallbacks=["later"], num_retries=0)
    assert "default_fallbacks name 'later', which no deployment serves" in caplog.text
    with pytest.raises(headrace.InternalServerError):
        said(client, router, "a")
    router.add_deployment(entry("later"))
    assert said(client, router, "a") == "from later"


def test_fallbacks_may_name_who_is_added_afterwards(client: Client) -> None:
    """Symptom: a Router that begins empty refused its first deployment, because the second was not there yet."""
    router = headrace.Router(fallbacks=[{"a": ["b"]}], num_retries=0)
    router.add_deployment(failing("a"))
    with pytest.raises(headrace.InternalServerError):
        said(client, router, "a")
    router.upsert_deployment(entry("b"))
    assert said(client, router, "a") == "from b"
    with pytest.raises(headrace.ConfigurationError, match="name 'b', which no deployment serves"):
        router.set_model_list([entry("a")])


@pytest.mark.parametrize("options", [{"default_fallbacks": ["b"]}, {"fallbacks": [{"nobody": ["b"]}]}, {"fallbacks": [{"*": ["b"]}]}])
def test_a_name_that_nobody_serves_has_fallbacks_as_well(client: Client, options: Any) -> None:
    """Symptom: a misspelt group failed in spite of `default_fallbacks`."""
    assert said(client, headrace.Router([entry("a"), entry("b")], **options), "nobody") == "from b"
    router = headrace.Router([entry("a"), entry("b")])
    assert said(client, router, "nobody", fallbacks=["b"]) == "from b"
    with pytest.raises(headrace.BadRequestError, match="no deployment serves 'nobody'"):
        said(client, router, "nobody")


def test_an_address_that_is_none_leaves_its_deployment_out_where_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Symptom: `ignore_invalid_deployments` covered everything but addresses."""
    broken = entry("b", base_url="no address", mock_response=None)
    assert headrace.Router([entry("a"), broken], ignore_invalid_deployments=True).get_model_names() == ["a"]
    assert "left out of the Router: deployment 'b'" in caplog.text
    with pytest.raises(headrace.ConfigurationError, match="base_url must begin with http"):
        headrace.Router([entry("a"), broken])


def test_a_mocked_limit_is_raised_at_once_where_nothing_is_to_be_tried_again(client: Client) -> None:
    """Symptom: `mock_response="litellm.RateLimitError"` with `num_retries=0` was tried eight times more."""
    told: list[str] = []
    router = headrace.Router([entry("a", "litellm.RateLimitError")], num_retries=0, on_event=lambda event: told.append(event.kind))
    with pytest.raises(headrace.RateLimitError):
        said(client, router, "a")
    assert told.count("sent") == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "args", "heard"),
    [
        ("anthropic_messages", (9, MESSAGES, "a"), lambda it: it.content[0].text),
        ("responses", ("hi", "a"), lambda it: it.output_text),
        ("generate_content", ("a", "hi"), lambda it: it.text),
    ],
)
def test_a_mocked_text_is_said_in_every_dialect(client: Client, name: str, args: Any, heard: Any, stream: bool) -> None:
    """Symptom: `mock_response` of a messages must be a mapping in OpenAI's form."""
    answer = client.call(name, *args, on=headrace.Router([entry("a")]), stream=stream)
    assert "from" in str([chunk.model_dump() for chunk in answer]) if stream else heard(answer) == "from a"


def test_several_organizations_are_as_many_deployments(client: Client, upstream: Upstream) -> None:
    many = entry("a", organization=["org-1", "org-2"], base_url=upstream.url, mock_response=None)
    router = headrace.Router([{**many, "model_info": {"id": "x"}}], routing_strategy="simple-shuffle")
    assert router.get_model_ids() == ["x", "x-1"]
    for _ in range(40):
        client.call("completion", "a", MESSAGES, on=router)
    assert {seen.headers["openai-organization"] for seen in upstream.seen} == {"org-1", "org-2"}


def test_a_deployment_reads_like_litellms_object() -> None:
    router = headrace.Router([{**entry("a", rpm=5), "model_info": {"id": "one", "base_model": "gpt-5"}}])
    found = router.get_deployment("one")
    assert found is not None
    assert (found.litellm_params.api_key, found.litellm_params["rpm"], found.litellm_params.api_base) == ("sk-test", 5, None)
    assert (found.model_info.id, found.model_info.get("base_model"), found.model_name) == ("one", "gpt-5", "a")
    assert found.litellm_params.model_dump(exclude_none=True)["model"] == "openai/m"


def test_the_list_of_models_has_the_aliases_that_are_not_hidden() -> None:
    router = headrace.Router([entry("a"), entry("b")], model_group_alias={"x": "a", "secret": {"model": "b", "hidden": True}})
    assert [one["model_name"] for one in router.get_model_list()] == ["a", "b", "x"]
    assert [one["model_name"] for one in router.get_model_list("secret")] == ["secret"]
    assert len(router.model_list) == 2


def test_healthy_deployments_are_told_whatever_the_call_says() -> None:
    router = headrace.Router([entry("a")])
    assert len(asyncio.run(router.async_get_healthy_deployments("a", {}, messages=MESSAGES, parent_otel_span=None))) == 1


@pytest.mark.parametrize("model", ["dall-e-3", "omni-moderation-latest", "tts-1", "whisper-1", "gpt-image-1"])
def test_openais_models_of_all_kinds_are_known_by_name(model: str) -> None:
    assert headrace.Router([entry("a", model=model)]).get_model_names() == ["a"]


def test_a_flushed_router_forgets_its_answers_and_who_rests(client: Client, upstream: Upstream) -> None:
    there = {"base_url": upstream.url, "mock_response": None}
    router = headrace.Router([entry("a", **there), entry("a", **there)], cache_responses=True)
    for _ in range(2):
        client.call("completion", "a", MESSAGES, on=router)
    assert len(upstream.seen) == 1
    first = router._fleet.members[router.get_model_ids()[0]]
    first.health.until = float("inf")
    router._fleet.rests(first, float("inf"))
    router.flush_cache()
    client.call("completion", "a", MESSAGES, on=router)
    assert len(upstream.seen) == 2
    assert not any(state["resting"] for state in router.health().values())
    router.reset()
    assert client.call("completion", "a", MESSAGES, on=router).choices
    assert len(upstream.seen) == 3


def test_parameters_are_attributes_that_can_be_read_and_set(client: Client) -> None:
    """Symptom: `router.num_retries` was not there, and `router.fallbacks = …` changed nothing."""
    router = headrace.Router([failing("a"), entry("b")], num_retries=0, cooldown_time=30)
    assert (router.num_retries, router.cooldown_time, router.fallbacks, router.max_fallbacks) == (0, 30, [], 5)
    assert router.model_names == {"a", "b"}
    with pytest.raises(headrace.InternalServerError):
        said(client, router, "a")
    router.fallbacks = [{"a": ["b"]}]
    assert router.get_settings()["fallbacks"] == router.fallbacks == [{"a": ["b"]}]
    assert said(client, router, "a") == "from b"
    with pytest.raises(headrace.ConfigurationError, match="num_retries"):
        router.num_retries = "many"
    with pytest.raises(AttributeError, match="Router has no 'num_retry'"):
        router.num_retry  # noqa: B018  # to see what it says


def test_a_router_that_never_began_has_what_its_maker_gave_it() -> None:
    class Own(headrace.Router):
        def __init__(self) -> None:
            self.num_retries = 7

    assert Own().num_retries == 7
    with pytest.raises(AttributeError):
        Own().timeout  # noqa: B018  # to see that it says so


@pytest.mark.parametrize("stream", [False, True])
def test_how_much_to_think_is_the_callers_to_say(client: Client, upstream: Upstream, stream: bool) -> None:
    """Symptom: a deployment's `thinking` was sent beside a call's `reasoning_effort`, which providers refuse."""
    own = {"thinking": {"type": "enabled", "budget_tokens": 9}, "reasoning": {"effort": "low", "summary": "auto"}, "seed": 1}
    extra = {"reasoning_effort": "high", "own": 1}
    router = headrace.Router([entry("a", base_url=upstream.url, mock_response=None, extra_body=extra, **own)])
    client.call("completion", "a", MESSAGES, on=router)
    assert upstream.seen[-1].body["thinking"] == own["thinking"]
    client.call("completion", "a", MESSAGES, on=router, reasoning_effort="low")
    body = upstream.seen[-1].body
    assert (body["reasoning_effort"], body["reasoning"], body["seed"], body["own"]) == ("low", {"summary": "auto"}, 1, 1)
    assert "thinking" not in body
    given = {"thinking": {}, "output_config": {"effort": "low"}, "extra_body": {"thinking": {}}}
    assert router._deployment_params_with_request_reasoning_override(given, {"reasoning_effort": "low"}) == {}
    assert router._deployment_params_with_request_reasoning_override(given, {}) == given


def test_tool_calls_are_mocked(client: Client) -> None:
    """Symptom: `mock_tool_calls` was sent to the provider."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    choice = client.chat(model="openai/gpt-4o", mock_tool_calls=calls).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls[0].function.name) == ("tool_calls", "f")
    chunks = client.chat(model="openai/gpt-4o", mock_tool_calls=calls, stream=True)
    assert headrace.stream_chunk_builder(chunks).choices[0].message.tool_calls[0].id == "c1"
