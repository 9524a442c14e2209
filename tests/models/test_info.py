"""litellm's questions about models and money."""

from __future__ import annotations

from typing import Any

import pytest

import headrace
from headrace import BadRequestError, NotFoundError
from headrace.models import facts
from headrace.models.info import supports
from headrace.objects import ImageResponse, ModelResponse, RerankResponse, TranscriptionResponse


@pytest.fixture(autouse=True)
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    fresh = facts.Catalogue()
    for module in ("facts", "info", "prices"):
        monkeypatch.setattr(f"headrace.models.{module}.catalogue", fresh)
    monkeypatch.setattr("headrace.models.prices._KEPT", {})


def answer(model: str = "gpt-4o", prompt: int = 1000, written: int = 100, **more: Any) -> ModelResponse:
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    return ModelResponse(model=model, choices=[], usage=usage, **more)


@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o"])
def test_facts_of_a_model(name: str) -> None:
    known = headrace.get_model_info(name)
    assert known["key"] == "gpt-4o"  # the name of the row, as litellm says it
    assert known["max_input_tokens"] == 128_000
    assert known["input_cost_per_token"] == 2.5e-6
    assert known["mode"] == "chat"
    assert known["litellm_provider"] == "openai"
    assert known["supports_vision"] is True


def test_an_unknown_model_is_named_with_the_way_to_describe_it() -> None:
    for ask in (headrace.get_model_info, headrace.get_max_tokens, lambda model: headrace.cost_per_token(model, 1, 1)):
        with pytest.raises(NotFoundError, match=r"isn't mapped yet: 'openai/ours'.*register_model"):
            ask("openai/ours")
    assert supports("vision", "openai/ours") is False


def test_a_registered_model_has_facts_and_a_cost_at_once() -> None:
    headrace.register_model({"openai/ours": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "max_output_tokens": 50}})
    assert headrace.cost_per_token("openai/ours", 10, 10) == (1e-5, 2e-5)
    assert headrace.get_max_tokens("openai/ours") == 50
    headrace.register_model('{"openai/ours": {"input_cost_per_token": 3e-6}}')
    assert headrace.cost_per_token("ours", 10, 10, custom_llm_provider="openai") == (3e-5, 2e-5)


@pytest.mark.parametrize(
    "given",
    [
        "not json",
        "https://example.com/",
        [],
        {"m": 1},
        {"m": {"input_cost_per_token": -1}},
        {"m": {"input_cost_per_token": "x"}},
    ],
)
def test_what_cannot_be_registered_is_refused_by_name(given: Any) -> None:
    with pytest.raises(BadRequestError, match="register_model"):
        headrace.register_model(given)


def test_a_prompt_from_the_cache_costs_less() -> None:
    prompt, written = headrace.cost_per_token("gpt-4o", 1000, 100, cache_read_input_tokens=600)
    assert (prompt, written) == (pytest.approx(400 * 2.5e-6 + 600 * 1.25e-6), 1e-3)


def test_the_cost_of_an_answer() -> None:
    assert headrace.completion_cost(answer()) == pytest.approx(1000 * 2.5e-6 + 100 * 1e-5)
    assert headrace.completion_cost(completion_response=answer("x"), model="openai/gpt-4o") == pytest.approx(3.5e-3)
    assert headrace.completion_cost(answer("ours"), custom_cost_per_token={"input_cost_per_token": 1e-3}) == pytest.approx(1.0)
    assert headrace.completion_cost(answer(service_tier="priority")) > headrace.completion_cost(answer(service_tier="default"))
    assert headrace.completion_cost(answer().model_dump()) == pytest.approx(3.5e-3)
    with pytest.raises(NotFoundError):
        headrace.completion_cost(answer("ours"))


def test_the_cost_of_what_is_not_counted_in_tokens() -> None:
    assert headrace.completion_cost(RerankResponse(results=[]), model="cohere/rerank-v3.5") == pytest.approx(0.002)
    assert headrace.completion_cost(TranscriptionResponse(text="", duration=10.0), model="openai/whisper-1") == pytest.approx(0.001)
    picture = headrace.get_model_info("openai/dall-e-3") if facts.catalogue.find("dall-e-3", "openai") else None
    if picture is not None and picture.get("output_cost_per_image"):
        two = ImageResponse(data=[{"url": "a"}, {"url": "b"}])
        assert headrace.completion_cost(two, model="openai/dall-e-3") == pytest.approx(2 * picture["output_cost_per_image"])


def test_the_cost_of_texts_that_nobody_has_sent() -> None:
    spent = headrace.completion_cost(model="gpt-4o", prompt="How are you?", completion="Fine, thank you.")
    assert 0 < spent < 0.001
    assert headrace.completion_cost(model="gpt-4o", messages=[{"role": "user", "content": "How are you?"}], completion="Fine.") > 0
