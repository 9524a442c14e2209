"""Embeds a few texts. From `examples/`: python -m backend.embedding_litellm_example"""

from __future__ import annotations

import asyncio

from backend.config import settings
from headrace import Router

router = Router(
    model_list=[
        {
            "model_name": settings.embedding_model,
            "litellm_params": {
                "model": f"{settings.embedding_provider}/{settings.embedding_model}",
                "api_key": settings.embedding_provider_api_key,
                "base_url": settings.embedding_provider_base_url,
                "tpm": settings.embedding_tpm,
                "rpm": settings.embedding_rpm,
            },
        }
    ]
)


async def embed(texts: list[str]) -> list[list[float]]:
    """One vector per text, in order."""
    response = await router.aembedding(model=settings.embedding_model, input=texts)
    return [item["embedding"] for item in response.data]


async def main() -> None:
    for vector in await embed(["水车", "磨坊的引水渠"]):
        print(f"dimension {len(vector)}: {vector[:5]}")


if __name__ == "__main__":
    asyncio.run(main())
