"""A program over litellm's names, as its user writes it."""

import asyncio
from typing import Any

import litellm
from litellm import (
    ModelResponse,
    RateLimitError,
    Router,
    acompletion,
    aembedding,
    completion,
    completion_cost,
    embedding,
    token_counter,
)
from litellm.exceptions import ContextWindowExceededError

MESSAGES = [{"role": "user", "content": "Name a mill that still runs."}]

litellm.drop_params = True


def ask(question: str) -> str:
    response = completion(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": question}], temperature=0)
    return response.choices[0].message.content or ""


def stream() -> str:
    said = ""
    for part in completion(model="openai/gpt-4o-mini", messages=MESSAGES, stream=True):
        said += part.choices[0].delta.content or ""
    return said


async def several() -> list[ModelResponse]:
    return list(await asyncio.gather(*(acompletion(model="openai/gpt-4o-mini", messages=MESSAGES) for _ in range(3))))


async def streamed() -> None:
    response = await acompletion(model="openai/gpt-4o-mini", messages=MESSAGES, stream=True)
    async for part in response:
        print(part.choices[0].delta.content or "", end="")


def tokens() -> int:
    return token_counter(model="gpt-4o", messages=MESSAGES)


def routed(model_list: list[dict[str, Any]]) -> float:
    router = Router(
        model_list=model_list,
        routing_strategy="usage-based-routing-v2",
        fallbacks=[{"gpt-4o": ["claude"]}],
        context_window_fallbacks=[{"gpt-4o": ["claude"]}],
        num_retries=3,
        timeout=30,
        allowed_fails=3,
        cooldown_time=10,
    )
    try:
        response = router.completion(model="gpt-4o", messages=MESSAGES)
    except ContextWindowExceededError:
        return 0.0
    except RateLimitError as error:
        print(error.status_code, error.llm_provider)
        raise
    return completion_cost(completion_response=response)


async def many(router: Router) -> list[str | None]:
    found = await router.abatch_completion(models=["gpt-4o", "claude"], messages=MESSAGES, max_tokens=20)
    fastest = await router.abatch_completion_fastest_response(model="gpt-4o, claude", messages=MESSAGES)
    scheduled = await router.schedule_acompletion(model="gpt-4o", messages=MESSAGES, priority=0)
    answers = [one for one in found if isinstance(one, ModelResponse)]
    return [one.choices[0].message.content for one in [*answers, fastest, scheduled]]


async def vectors(router: Router) -> list[float]:
    response = await router.aembedding(model="vectors", input=["a", "b"])
    other = embedding(model="openai/text-embedding-3-small", input=["c"])
    third = await aembedding(model="openai/text-embedding-3-small", input=["d"])
    first: list[float] = response.data[0]["embedding"]
    return first + other.data[0].embedding + third.data[0].embedding


if __name__ == "__main__":
    print(ask("Hello"), stream(), tokens())
