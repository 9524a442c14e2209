"""Phoenix's evaluation model over litellm."""

import asyncio

from phoenix.evals.llm import LLM

llm = LLM(provider="litellm", model="openai/gpt-sim", client="litellm")
assert llm.generate_text("Hello", api_base=BASE, api_key="sim")
ok("call")
schema = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
assert "label" in llm.generate_object("Judge", schema, api_base=BASE, api_key="sim")
ok("structured output")
assert asyncio.run(llm.async_generate_text("Hello", api_base=BASE, api_key="sim"))
ok("async")
