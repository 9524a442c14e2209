"""ragbits' model and embedder over litellm."""

import asyncio

import ragbits.core

ragbits.core.ensure_config_loaded()  # otherwise, a background thread imports the same modules
from ragbits.core.embeddings.dense.litellm import LiteLLMEmbedder
from ragbits.core.llms.litellm import LiteLLM


async def main():
    prices = {"openai/gpt-sim": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "litellm_provider": "openai"}}
    model = LiteLLM("openai/gpt-sim", base_url=BASE, api_key="sim", custom_model_cost_config=prices)
    assert await model.generate("Hello")
    ok("call")
    assert "".join([piece async for piece in model.generate_streaming("Hello")])
    ok("stream")
    embedder = LiteLLMEmbedder("openai/embed-sim", api_base=BASE, api_key="sim")
    assert len(await embedder.embed_text(["a", "b"])) == 2
    ok("embeddings")


asyncio.run(main())
