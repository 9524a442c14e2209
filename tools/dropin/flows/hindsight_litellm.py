"""Its wrappers around a call, and its callback."""

import asyncio

import hindsight_litellm
import litellm
from hindsight_litellm.callbacks import HindsightCallback

said = {"model": "openai/gpt-sim", "messages": [{"role": "user", "content": "Hello"}], "api_base": BASE, "api_key": "sim"}
hindsight_litellm.configure(hindsight_api_url="http://127.0.0.1:9", store_conversations=False, inject_memories=False)
hindsight_litellm.set_defaults(bank_id="b")
hindsight_litellm.enable()
assert hindsight_litellm.completion(**said).choices[0].message.content
ok("call")
assert asyncio.run(hindsight_litellm.acompletion(**said)).choices[0].message.content
ok("async")
assert litellm.completion(**said).choices[0].message.content
ok("litellm's function in its hands")
hindsight_litellm.disable()
assert issubclass(HindsightCallback, litellm.integrations.custom_logger.CustomLogger)
