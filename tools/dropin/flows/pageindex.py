"""A model called, sync and async, and its tokens counted."""

import asyncio

from pageindex.utils import count_tokens, llm_acompletion, llm_completion

assert llm_completion("openai/gpt-sim", "Hello")
ok("call")
assert asyncio.run(llm_acompletion("openai/gpt-sim", "Hello"))
ok("async")
assert count_tokens("Hello there", model="openai/gpt-sim") > 1
ok("tokens")
