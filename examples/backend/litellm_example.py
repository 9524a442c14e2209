"""One complete and one streamed response. From `examples/`: python -m backend.litellm_example"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from backend.config import settings
from headrace import Router

router = Router(
    model_list=[
        {
            "model_name": settings.llm_model,
            "litellm_params": {
                "model": f"{settings.llm_provider}/{settings.llm_model}",
                "api_key": settings.llm_provider_api_key,
                "base_url": settings.llm_provider_base_url,
                "tpm": settings.llm_tpm,
                "rpm": settings.llm_rpm,
            },
        }
    ]
)


def chat(question: str) -> str:
    """The complete response."""
    response = router.completion(model=settings.llm_model, messages=[{"role": "user", "content": question}])
    return response.choices[0].message.content


async def chat_stream(question: str) -> AsyncIterator[str]:
    """The response in pieces, as they arrive."""
    response = await router.acompletion(model=settings.llm_model, messages=[{"role": "user", "content": question}], stream=True)
    async for chunk in response:
        for choice in chunk.choices:
            if choice.delta.content:
                yield choice.delta.content


async def show(question: str) -> None:
    async for piece in chat_stream(question):
        print(piece, end="", flush=True)
    print()


def main() -> None:
    print(chat("用一句话介绍你自己。"))
    asyncio.run(show("从一数到十。"))


if __name__ == "__main__":
    main()
