"""Braintrust's wrapper around litellm."""

import asyncio

import litellm
from braintrust.integrations.litellm import patch_litellm
from braintrust.logger import _internal_with_memory_background_logger
from braintrust.test_helpers import init_test_logger

init_test_logger("p")
patch_litellm()
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
with _internal_with_memory_background_logger() as memory:
    assert litellm.completion(**asked).choices[0].message.content
    logged = memory.pop()
assert logged and logged[0]["metrics"]["tokens"] > 0, logged
ok("span of a call")
with _internal_with_memory_background_logger() as memory:
    assert list(litellm.completion(**asked, stream=True))
    assert memory.pop()
ok("span of a stream")


async def whole():
    with _internal_with_memory_background_logger() as memory:
        await litellm.acompletion(**asked)
        await litellm.aembedding(model="openai/embed-sim", input="a", api_base=BASE, api_key="sim")
        assert len(memory.pop()) == 2


asyncio.run(whole())
ok("spans of async calls")
