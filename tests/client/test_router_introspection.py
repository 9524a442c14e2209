"""What a Router reports about itself under litellm's names; sync and async if there are both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import headrace
from headrace.errors import BadRequestError, ConfigurationError, RateLimitError

HI = [{"role": "user", "content": "hi"}]


def entry(name: str, id: str, **params: Any) -> dict[str, Any]:
    params = {"model": "openai/gpt-4o-mini", "api_key": f"sk-secret-key-{id}", "mock_response": f"from {id}", **params}
    return {"model_name": name, "litellm_params": params, "model_info": {"id": id, "access_groups": ["beta"]}}


def router(**options: Any) -> headrace.Router:
    return headrace.Router([entry("gpt", "a", rpm=200, tpm=1_000_000), entry("gpt", "b", rpm=300), entry("other", "c")], **options)


def available(made: headrace.Router, colour: str, *arguments: Any, **options: Any) -> dict[str, Any]:
    if colour == "sync":
        return made.get_available_deployment(*arguments, **options)
    return asyncio.run(made.async_get_available_deployment(*arguments, **options))


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_deployment_that_a_call_would_go_to_is_told_and_nothing_is_used_up(colour: str) -> None:
    made = router()
    for _ in range(20):
        found = available(made, colour, "gpt", messages=HI)
        assert found["model_name"] == "gpt"
        assert found["model_info"]["id"] in ("a", "b")
    assert asyncio.run(made.get_model_group_usage("gpt"))[1] == 0
    assert available(made, colour, "other", input="a text")["model_info"]["id"] == "c"
    assert available(made, colour, "b", specific_deployment=True)["model_info"]["id"] == "b"


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_where_nobody_has_room_the_caller_is_told_for_how_long(colour: str) -> None:
    made = headrace.Router([entry("gpt", "a", rpm=1)])
    made.completion("gpt", HI)
    with pytest.raises(RateLimitError) as told:
        available(made, colour, "gpt", messages=HI)
    assert 0 < (told.value.retry_after or 0) <= 70
    with pytest.raises(BadRequestError, match="no deployment serves 'nobody'"):
        available(made, colour, "nobody", messages=HI)


def test_use_and_what_is_left_of_a_group() -> None:
    made = router()
    for _ in range(4):
        made.completion("gpt", HI)
    assert asyncio.run(made.get_model_group_usage("gpt"))[1] == 4
    left = asyncio.run(made.get_remaining_model_group_usage("gpt"))
    assert (left["x-ratelimit-remaining-requests"], left["x-ratelimit-limit-requests"]) == (496, 500)
    assert left["x-ratelimit-limit-tokens"] == 1_000_000
    assert asyncio.run(made.get_model_group_usage("other")) == (None, None)
    assert asyncio.run(made.get_remaining_model_group_usage("other")) == {}


def test_the_quota_of_two_deployments_with_one_key_counts_once() -> None:
    made = headrace.Router([entry("gpt", "a", rpm=90, api_key="k"), entry("gpt", "b", rpm=90, api_key="k")])
    made.completion("gpt", HI)
    assert asyncio.run(made.get_remaining_model_group_usage("gpt"))["x-ratelimit-remaining-requests"] == 89


def test_a_group_is_what_its_deployments_are_together() -> None:
    info = router(model_group_alias={"hid": {"model": "gpt", "hidden": True}, "seen": "gpt"}).get_model_group_info("gpt")
    assert info is not None
    assert (info.model_group, info.providers, info.rpm, info.tpm, info.mode) == ("gpt", ["openai"], 500, 1_000_000, "chat")
    assert info.supports_function_calling is True


def test_hidden_and_unknown_groups_are_not_told_of() -> None:
    made = router(model_group_alias={"hid": {"model": "gpt", "hidden": True}, "seen": "gpt"})
    assert made.get_model_group_info("hid") is None
    assert made.get_model_group_info("nobody") is None
    seen = made.get_model_group_info("seen")
    assert seen is not None
    assert seen.rpm == 500


def test_entries_by_id_and_by_group() -> None:
    made = router()
    assert (made.has_model_id("a"), made.has_model_id("z")) == (True, False)
    one = made.get_model_info("a")
    assert one is not None
    assert one["litellm_params"]["rpm"] == 200
    assert made.get_model_info("z") is None
    assert [row["model_info"]["id"] for row in made.get_model_group("a") or ()] == ["a", "b"]
    assert made.get_model_group("z") is None
    assert made.get_model_access_groups() == {"beta": ["gpt", "gpt", "other"]}
    assert made.get_model_access_groups("other", "beta") == {"beta": ["other"]}
    assert made.get_model_access_groups(model_access_group="alpha") == {}


def test_credentials_and_facts_of_one_deployment() -> None:
    own = {"model": "azure/gpt-4o", "api_base": "https://a.test", "api_key": "k", "api_version": "2024-10-21", "rpm": 5}
    priced = {**own, "input_cost_per_token": 0.5, "model": "azure/mine"}
    made = headrace.Router([
        {"model_name": "g", "litellm_params": own, "model_info": {"id": "a"}},
        {"model_name": "h", "litellm_params": priced, "model_info": {"id": "b", "base_model": "azure/gpt-4o"}},
    ])  # fmt: skip
    given = {"api_base": "https://a.test", "api_key": "k", "api_version": "2024-10-21"}
    assert made.get_deployment_credentials("a") == given
    assert made.get_deployment_credentials("z") is None
    assert made.get_deployment_credentials_with_provider("h") == given | {"custom_llm_provider": "azure"}
    made.upsert_deployment({**made.model_list[0], "model_info": {"id": "a", "blocked": True}})
    assert made.get_deployment_credentials("a") is None
    info = made.get_router_model_info(id="b")
    assert (info["key"], info["id"], info["input_cost_per_token"]) == ("azure/gpt-4o", "b", 0.5)
    with pytest.raises(headrace.BadRequestError, match="id= one that a deployment has"):
        made.get_router_model_info(id="z")


def test_a_deployment_that_rests_is_not_among_the_healthy() -> None:
    made = headrace.Router([entry("gpt", "a", mock_response=headrace.AuthenticationError("no", "openai", "m")), entry("gpt", "b")])
    for _ in range(40):  # the choice between equals is drawn
        made.completion("gpt", HI)
    assert [row["model_info"]["id"] for row in asyncio.run(made.async_get_healthy_deployments("gpt"))] == ["b"]


def test_a_printed_deployment_shows_no_secret() -> None:
    made = router()
    shown = made.print_deployment(made.get_model_list()[0])
    assert "secret" not in str(shown)
    assert shown["litellm_params"]["rpm"] == 200
    assert "sk-secret-key" in str(made.get_model_list()[0]), "the entry itself is as it was"


def test_settings_are_read_and_changed_one_by_one() -> None:
    made = router(num_retries=5, max_wait=3)
    assert made.get_settings()["num_retries"] == 5
    assert made.get_settings()["routing_strategy"] == "headroom"
    made.update_settings(num_retries=0, fallbacks=[{"gpt": ["other"]}], routing_strategy="least-busy")
    settings = made.get_settings()
    assert (settings["num_retries"], settings["routing_strategy"], settings["fallbacks"]) == (0, "least-busy", [{"gpt": ["other"]}])
    assert made._engine.settings.max_wait == 3, "the rest stays"
    assert made.get_model_ids() == ["a", "b", "c"]


def test_a_changed_setting_counts_from_the_next_call_on() -> None:
    broken = headrace.InternalServerError("boom", "openai", "m")
    made = headrace.Router([entry("gpt", "a", mock_response=broken), entry("other", "c")], num_retries=0)
    with pytest.raises(headrace.InternalServerError):
        made.completion("gpt", HI)
    made.update_settings(fallbacks=[{"gpt": ["other"]}])
    assert made.completion("gpt", HI).choices[0].message.content == "from c"


def test_a_setting_that_cannot_be_changes_nothing_and_is_named() -> None:
    made = router(num_retries=1)
    for changes, named in (({"num_retries": -1}, "num_retries"), ({"nonsense": 1}, "nonsense"), ({"weights": {"a": 1}}, "weight")):
        with pytest.raises(ConfigurationError, match=named):
            made.update_settings(**changes)
    assert made.get_settings()["num_retries"] == 1
    assert {"model_list", "num_retries", "fallbacks"} <= set(made.get_valid_args())


def test_fallbacks_are_checked_for_their_form() -> None:
    made = router()
    made.validate_fallbacks(None)
    made.validate_fallbacks([{"gpt": ["other"]}])
    with pytest.raises(ConfigurationError, match=r"fallbacks\[0\] must be a mapping"):
        made.validate_fallbacks(["gpt"])


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("avector_store_search", "vector stores"), ("arun_thread", "use responses"), ("avideo_list", "videos"),
        ("aguardrail", "headrace.layers"), ("acreate_fine_tuning_job", "fine-tuning"),
    ],
)  # fmt: skip
def test_what_a_router_has_not_is_an_error_that_says_what_to_use(name: str, use: str) -> None:
    made = router()
    assert not hasattr(made, name)
    with pytest.raises(AttributeError, match=use):
        getattr(made, name)


def test_chats_as_the_openai_sdk_spells_them() -> None:
    made = router()
    assert made.chat.completions.create(HI, "other").choices[0].message.content == "from c"
    chunks = made.chat.completions.create(model="other", messages=HI, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in chunks) == "from c"


def test_chats_may_be_awaited_and_have_a_model_by_default() -> None:
    made = router(default_litellm_params={"acompletion": True, "model": "other", "temperature": 0.5})

    async def ask() -> Any:
        call: Any = made.chat.completions.create(messages=HI)
        return await call

    assert asyncio.run(ask()).choices[0].message.content == "from c"
