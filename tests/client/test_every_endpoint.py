"""Every endpoint, sync and async, with a strict simulated provider of each dialect that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import headrace
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import Running, running

MESSAGES = [{"role": "user", "content": "Name three rivers."}]
DIALECTS = ("openai", "anthropic", "gemini")
OPENAI = ("openai",)


@pytest.fixture(scope="module")
def base() -> Iterator[Running]:
    provider = ProviderConfig(name="a", ttft=0.0, gap=0.0, output_tokens=20.0)
    with running(SimulatorConfig(port=0, providers=(provider,))) as made:
        yield made


def text(answer: Any) -> str:
    return str(answer.choices[0].message.content)


Case = tuple[tuple[str, ...], Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]], Callable[[Any], Any]]


def model(*args: Any, **options: Any) -> Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Arguments of a call that names a model first."""
    return lambda provider: ((f"{provider}/gpt-sim", *args), options)


def named(*args: Any, **options: Any) -> Callable[[str], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Arguments of a call that names it by keyword."""
    return lambda provider: (args, {"model": f"{provider}/gpt-sim", **options})


CASES: dict[str, Case] = {
    "completion": (DIALECTS, model(MESSAGES, max_tokens=20), text),
    "text_completion": (DIALECTS, model("Once", max_tokens=20), lambda answer: answer.choices[0].text),
    "embedding": (OPENAI, lambda _: (("openai/embed-sim", ["a", "b"]), {}), lambda answer: len(answer.data) == 2),
    "responses": (DIALECTS, lambda provider: (("hi", f"{provider}/gpt-sim"), {}), lambda answer: answer.output_text),
    "anthropic_messages": (
        DIALECTS,
        lambda provider: ((20, MESSAGES, f"{provider}/gpt-sim"), {}),
        lambda answer: answer.content[0]["text"],
    ),
    "generate_content": (DIALECTS, model("hi"), lambda answer: answer.text),
    "count_tokens": (OPENAI, model(MESSAGES), lambda answer: answer.total_tokens),
    "moderation": (OPENAI, lambda _: (("fine", "openai/gpt-sim"), {}), lambda answer: answer.results[0].flagged is False),
    "rerank": (OPENAI, model("a b", ["c", "a"]), lambda answer: answer.results[0].index == 1),
    "image_generation": (OPENAI, named("a mill"), lambda answer: answer.data[0].b64_json),
    "image_edit": (OPENAI, named(b"png", "blue"), lambda answer: answer.data[0].b64_json),
    "image_variation": (OPENAI, named(b"png"), lambda answer: answer.data[0].b64_json),
    "speech": (OPENAI, model("hello", "alloy"), lambda answer: answer.content.startswith(b"RIFF")),
    "transcription": (OPENAI, model(b"sound"), lambda answer: answer.text == "5 bytes of sound"),
    "audio_translation": (OPENAI, model(b"sound"), lambda answer: answer.text == "5 bytes of sound"),
    "list_models": (
        OPENAI,
        lambda provider: ((provider,), {}),
        lambda answer: [it["id"] for it in answer.data] == ["gpt-sim", "embed-sim"],
    ),
}
"""Who has it, what is said, and what a good answer has. Files and batches: `tests/simulator/test_keeping.py`."""

KEPT = {
    *("create_file", "file_list", "file_retrieve", "file_delete", "file_content"),
    *("create_batch", "retrieve_batch", "list_batches", "cancel_batch"),
}
STORED = {"get_responses", "delete_responses", "cancel_responses", "list_input_items", "compact_responses"}
"""Only who keeps responses has them: `tests/client/test_speaking.py`."""
STREAMED = {"generate_content_stream"}
READ = {"ocr"}
"""Documents are read by Mistral's form alone, which the simulator has not: `tests/client/test_endpoints.py`."""


def endpoints() -> set[str]:
    return {name for name in headrace.__all__ if f"a{name}" in headrace.__all__}


def test_no_endpoint_is_left_out() -> None:
    assert endpoints() == set(CASES) | KEPT | STORED | STREAMED | READ


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(("name", "provider"), [(name, provider) for name, (providers, _, _) in CASES.items() for provider in providers])
def test_an_endpoint_answers(base: Running, name: str, provider: str, colour: str) -> None:
    _, said, good = CASES[name]
    args, options = said(provider)
    options |= {"base_url": base.url("a"), "api_key": "sk-any-key-1234", "num_retries": 0}
    if colour == "sync":
        answer = getattr(headrace, name)(*args, **options)
    else:

        async def ask() -> Any:
            return await getattr(headrace, f"a{name}")(*args, **options)

        answer = asyncio.run(ask())
    assert good(answer)
    assert answer._hidden_params["custom_llm_provider"] == provider


PIECES: dict[str, Callable[[Any], str | None]] = {
    "completion": lambda piece: piece.choices[0].delta.content if piece.choices else "",
    "text_completion": lambda piece: piece.choices[0].text if piece.choices else "",
    "responses": lambda piece: piece.delta if piece.type == "response.output_text.delta" else "",
    "anthropic_messages": lambda piece: piece.delta.get("text") if piece.type == "content_block_delta" else "",
    "generate_content": lambda piece: piece.text,
}
"""What a piece of a stream says."""


@pytest.mark.parametrize("provider", DIALECTS)
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("name", PIECES)
def test_an_endpoint_streams(base: Running, name: str, provider: str, colour: str) -> None:
    _, said, _ = CASES[name]
    args, options = said(provider)
    options |= {"base_url": base.url("a"), "api_key": "sk-any-key-1234", "num_retries": 0, "stream": True}
    if colour == "sync":
        pieces = list(getattr(headrace, name)(*args, **options))
    else:

        async def ask() -> list[Any]:
            return [piece async for piece in await getattr(headrace, f"a{name}")(*args, **options)]

        pieces = asyncio.run(ask())
    assert len(pieces) > 3
    assert len("".join(PIECES[name](piece) or "" for piece in pieces)) > 20
