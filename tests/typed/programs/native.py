"""A program over headrace's own names, as its user writes it."""

import asyncio
from typing import assert_type

import headrace
from headrace import (
    AsyncStream,
    EmbeddingResponse,
    HeadraceError,
    ImageResponse,
    ModelResponse,
    ModelResponseStream,
    RateLimitError,
    RerankResponse,
    Router,
    Stream,
    Timeouts,
    completion,
)
from headrace.routing.strategies import Prefer, View

MESSAGES = [{"role": "user", "content": "Name a mill that still runs."}]


def ask(question: str) -> str:
    answer = completion("openai/gpt-4o-mini", [{"role": "user", "content": question}], temperature=0.2, max_tokens=50)
    assert_type(answer, ModelResponse)
    return answer.choices[0].message.content or ""


def stream(question: str) -> str:
    said = ""
    with completion("openai/gpt-4o-mini", [{"role": "user", "content": question}], stream=True) as chunks:
        assert_type(chunks, Stream[ModelResponseStream])
        for chunk in chunks:
            said += chunk.choices[0].delta.content or ""
    return said


def vectors(texts: list[str]) -> list[list[float]]:
    answer = headrace.embedding(model="openai/text-embedding-3-small", input=texts, dimensions=256)
    assert_type(answer, EmbeddingResponse)
    return [item.embedding for item in answer.data]


def shortest(view: View) -> Prefer:
    return lambda deployment: float(view.loads[deployment].running)


def make() -> Router:
    return Router(
        model_list=[
            {"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "sk-1", "rpm": 500, "tpm": 200_000}},
            {"model_name": "backup", "litellm_params": {"model": "anthropic/claude-sonnet-4-5", "api_key": "sk-2"}},
        ],
        fallbacks=[{"chat": ["backup"]}],
        num_retries=3,
        timeout=Timeouts(connect=5, first_byte=20, between_bytes=10, total=120),
        routing_strategy=shortest,
    )


async def routed(router: Router) -> None:
    answer = await router.acompletion("chat", MESSAGES, tenant="anna", max_wait=10, tags=["paid"])
    assert_type(answer, ModelResponse)
    usage = answer.usage
    if usage is not None:
        assert_type(usage.total_tokens, int)
    chunks = await router.acompletion("chat", MESSAGES, stream=True)
    assert_type(chunks, AsyncStream[ModelResponseStream])
    async for chunk in chunks:
        print(chunk.choices[0].delta.content or "", end="")
    images = await router.aimage_generation("a water wheel", "images")
    assert_type(images, ImageResponse)
    ranked = router.rerank("rank", "mills", ["a", "b"], top_n=1)
    assert_type(ranked, RerankResponse)


async def many(router: Router) -> None:
    each = await router.abatch_completion(["chat", "backup"], MESSAGES, max_tokens=20)
    assert_type(each, list[ModelResponse | HeadraceError])
    all_of_each = await router.abatch_completion(["chat", "backup"], [MESSAGES, MESSAGES])
    assert_type(all_of_each, list[list[ModelResponse | HeadraceError]])
    first = await router.abatch_completion_fastest_response("chat, backup", MESSAGES)
    assert_type(first, ModelResponse)
    urgent = await router.schedule_acompletion("chat", MESSAGES, priority=0, stream=True)
    assert_type(urgent, AsyncStream[ModelResponseStream])
    plain = router.chat.completions.create(MESSAGES, "chat", temperature=0)
    assert_type(plain, ModelResponse)
    router.update_settings(num_retries=1, fallbacks=[{"chat": ["backup"]}])
    info = router.get_model_group_info("chat")
    print(info.tpm if info is not None else None, router.get_available_deployment("chat")["model_name"])


def careful(router: Router) -> str | None:
    try:
        return router.completion("chat", MESSAGES).choices[0].message.content
    except RateLimitError as error:
        wait: float | None = error.retry_after
        print("later", wait)
    except HeadraceError as error:
        print(error.status_code, error.message)
    return None


if __name__ == "__main__":
    asyncio.run(routed(make()))
