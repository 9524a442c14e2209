"""Encoders over litellm."""

import asyncio

from semantic_router.encoders.litellm import LiteLLMEncoder

encoder = LiteLLMEncoder(name="openai/embed-sim", api_key="sim")
assert len(encoder(["a", "b"])) == 2
ok("embeddings")
assert len(asyncio.run(encoder.acall(["a"]))) == 1
ok("async")
