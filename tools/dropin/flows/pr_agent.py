"""PR-Agent's handler."""

import asyncio

from pr_agent.algo.ai_handlers.litellm_ai_handler import LiteLLMAIHandler
from pr_agent.config_loader import get_settings

get_settings().set("OPENAI.KEY", "sim")
get_settings().set("OPENAI.API_BASE", BASE)
handler = LiteLLMAIHandler()
said, why = asyncio.run(handler.chat_completion(model="openai/gpt-sim", system="Be brief.", user="Hello", temperature=0.2))
assert said and why
ok("call")
