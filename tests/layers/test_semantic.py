"""Answers to questions that mean the same, by vectors that a Router's own group makes; in both colours, streamed and whole."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest

import headrace
from conftest import Colour
from headrace import handlers
from headrace.layers.semantic import Index

ANGLES = {"What is a mill?": 0.0, "What's a mill?": 0.05, "What is a sluice?": 1.0, "nothing": 0.0}


class House:
    """Answers questions by number, and makes vectors of two dimensions of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.vectors = 0
        self.broken = False

    def whole(self, call: Any, model: str, timeouts: Any) -> dict[str, Any]:
        if call.operation.name == "embeddings":
            self.vectors += 1
            if self.broken:
                raise headrace.BadRequestError("no vectors today", model, "house")
            angle = ANGLES[call.prompt[0]]
            return {
                "data": [{"index": 0, "embedding": [math.cos(angle), math.sin(angle)]}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        self.asked.append(call.prompt[-1]["content"])
        message = {"role": "assistant", "content": f"answer {len(self.asked)}"}
        return {"id": "x", "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

    async def awhole(self, call: Any, model: str, timeouts: Any) -> dict[str, Any]:
        return self.whole(call, model, timeouts)

    def chunks(self, call: Any, model: str, timeouts: Any) -> Iterator[dict[str, Any]]:
        text = self.whole(call, model, timeouts)["choices"][0]["message"]["content"]
        yield {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        yield {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    async def achunks(self, call: Any, model: str, timeouts: Any) -> Any:
        for chunk in self.chunks(call, model, timeouts):
            yield chunk


@pytest.fixture
def house() -> House:
    made = House()
    handlers.register("house", made)
    return made


def router(**cache: Any) -> headrace.Router:
    entries = [{"model_name": name, "litellm_params": {"model": f"house/{name}"}} for name in ("chat", "other", "vectors")]
    return headrace.Router(entries, cache=headrace.Cache(embedding_model="vectors", **cache), num_retries=0)


def ask(colour: Colour, on: headrace.Router, *questions: Any, model: str = "chat", **options: Any) -> list[str]:
    def messages(question: Any) -> Any:
        return question if isinstance(question, list) else [{"role": "user", "content": question}]

    async def whole() -> list[Any]:
        return [await on.acompletion(model, messages(question), **options) for question in questions]

    answers = asyncio.run(whole()) if colour.is_async else [on.completion(model, messages(question), **options) for question in questions]
    return [answer.choices[0].message.content for answer in answers]


def test_a_question_that_means_the_same_is_answered_as_the_first(house: House, colour: Colour) -> None:
    on = router()
    assert ask(colour, on, "What is a mill?", "What's a mill?", "What is a sluice?") == ["answer 1", "answer 1", "answer 2"]
    assert house.asked == ["What is a mill?", "What is a sluice?"]


def test_the_same_question_needs_no_vector(house: House, colour: Colour) -> None:
    ask(colour, router(), "What is a mill?", "What is a mill?")
    assert house.vectors == 1


def test_how_alike_they_must_be_is_the_caches(house: House, colour: Colour) -> None:
    assert ask(colour, router(similarity_threshold=0.9999), "What is a mill?", "What's a mill?") == ["answer 1", "answer 2"]


def test_a_hit_says_how_alike_it_was_and_costs_nothing(house: House) -> None:
    on = router()
    ask(Colour("sync"), on, "What is a mill?")
    hidden = on.completion("chat", [{"role": "user", "content": "What's a mill?"}])._hidden_params
    assert hidden["cache_hit"] is True
    assert hidden["semantic_similarity"] == pytest.approx(math.cos(0.05), abs=1e-4)
    assert hidden["response_cost"] == 0.0


def test_only_the_last_question_may_differ(house: House, colour: Colour) -> None:
    on = router()
    ask(colour, on, "What is a mill?")
    before = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What's a mill?"}]
    assert ask(colour, on, before) == ["answer 2"]
    assert ask(colour, on, "What's a mill?", temperature=0.3) == ["answer 3"]
    assert ask(colour, on, "What's a mill?", model="other") == ["answer 4"]
    assert ask(colour, on, "What's a mill?", cache={"namespace": "b"}) == ["answer 5"]


def test_pictures_and_tools_results_are_not_compared(house: House, colour: Colour) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    ask(colour, router(), [{"role": "user", "content": [{"type": "text", "text": "What is a mill?"}, part]}])
    assert house.vectors == 0


def test_a_stream_is_kept_and_found_as_well(house: House, colour: Colour) -> None:
    on = router()

    def read(question: str) -> str:
        messages = [{"role": "user", "content": question}]

        async def whole() -> str:
            stream = await on.acompletion("chat", messages, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        if colour.is_async:
            return asyncio.run(whole())
        return "".join(chunk.choices[0].delta.content or "" for chunk in on.completion("chat", messages, stream=True))

    assert [read("What is a mill?"), read("What's a mill?")] == ["answer 1", "answer 1"]


def test_without_a_vector_the_call_is_made(house: House, colour: Colour, caplog: pytest.LogCaptureFixture) -> None:
    house.broken = True
    assert ask(colour, router(), "What is a mill?", "What is a sluice?") == ["answer 1", "answer 2"]
    assert caplog.text.count("failed (") == 1


def test_an_answer_that_may_not_be_kept_is_not_found(house: House, colour: Colour) -> None:
    on = router()
    ask(colour, on, "What is a mill?", cache={"no-store": True})
    assert ask(colour, on, "What's a mill?") == ["answer 2"]
    assert ask(colour, on, "What's a mill?", cache={"no-cache": True}) == ["answer 3"]


@pytest.mark.parametrize("kind", ["local", "disk"])
def test_answers_may_be_kept_anywhere(house: House, colour: Colour, kind: str, tmp_path: Any) -> None:
    on = router(type=kind, disk_cache_dir=tmp_path)
    assert ask(colour, on, "What is a mill?", "What's a mill?") == ["answer 1", "answer 1"]


def test_the_oldest_questions_go_first() -> None:
    import numpy as np

    from headrace.layers.semantic import Asked

    index = Index("m", 0.9, 20)
    for number in range(30):
        index.remember(Asked("s", np.eye(30, dtype=np.float32)[number]), f"k{number}")
    found = [index.nearest(Asked("s", np.eye(30, dtype=np.float32)[number])) for number in range(30)]
    assert [near[0] for near in found if near] == [f"k{number}" for number in range(10, 30)]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"similarity_threshold": 0.9}, "embedding_model"),
        ({"embedding_model": 3}, "embedding_model"),
        ({"embedding_model": "m", "similarity_threshold": 1.5}, "similarity_threshold"),
        ({"embedding_model": "m", "similarity_threshold": "high"}, "similarity_threshold"),
    ],
)
def test_what_cannot_work_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(headrace.ConfigurationError, match=named):
        headrace.Cache(**given)
