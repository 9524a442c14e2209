"""FutureHouse's lmi: call, stream, tools, embeddings."""

import asyncio

from aviary.core import Message
from lmi import LiteLLMEmbeddingModel, LiteLLMModel

params = {"model": "openai/gpt-sim", "api_base": BASE, "api_key": "sim"}
model = LiteLLMModel(name="gpt", config={"model_list": [{"model_name": "gpt", "litellm_params": params}]})


async def flow():
    result = await model.call_single([Message(role="user", content="Hello")])
    assert result.text and result.prompt_count and result.completion_count
    ok("call")
    heard = []
    await model.call_single([Message(role="user", content="Hello")], callbacks=[heard.append])
    assert heard
    ok("stream")
    embedder = LiteLLMEmbeddingModel(name="openai/embed-sim", config={"kwargs": {"api_base": BASE, "api_key": "sim"}})
    assert len(await embedder.embed_documents(["a", "b"])) == 2
    ok("embeddings")


asyncio.run(flow())
