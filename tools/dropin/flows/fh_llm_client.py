"""A model called and streamed, its cost, and embeddings."""

import asyncio

from aviary.core import Message
from llmclient import LiteLLMEmbeddingModel, LiteLLMModel

params = {"model": "openai/gpt-sim", "api_base": BASE, "api_key": "sim"}
model = LiteLLMModel(name="gpt-sim", config={"model_list": [{"model_name": "gpt-sim", "litellm_params": params}]})


async def main() -> None:
    results = await model.call([Message(content="Hello")])
    assert results[0].text and results[0].completion_count > 0, results
    ok("call")
    heard = []
    await model.call([Message(content="Hello")], callbacks=[heard.append])
    assert "".join(heard)
    ok("stream")
    vectors = LiteLLMEmbeddingModel(name="openai/embed-sim", config={"kwargs": {"api_base": BASE, "api_key": "sim"}})
    assert len(await vectors.embed_documents(["a", "b"])) == 2
    ok("embeddings")


asyncio.run(main())
