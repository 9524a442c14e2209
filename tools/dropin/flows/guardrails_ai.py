"""A guard around a litellm model: complete, streamed, async."""

import asyncio
import os

os.environ["OTEL_SDK_DISABLED"] = "true"

from guardrails import AsyncGuard, Guard

asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
outcome = Guard()(**asked)
assert outcome.validated_output or outcome.raw_llm_output
ok("call")
pieces = list(Guard()(stream=True, **asked))
assert pieces
ok("stream")
outcome = asyncio.run(AsyncGuard()(**asked))
assert outcome.raw_llm_output
ok("async")
