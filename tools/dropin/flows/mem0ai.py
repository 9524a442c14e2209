"""The language model of a memory."""

import litellm
from mem0.configs.llms.base import BaseLlmConfig
from mem0.llms.litellm import LiteLLM

litellm.register_model({"openai/gpt-sim": {"supports_function_calling": True, "litellm_provider": "openai", "mode": "chat"}})
llm = LiteLLM(BaseLlmConfig(model="openai/gpt-sim", api_key="sim"))
assert llm.generate_response([{"role": "user", "content": "Hello"}])
ok("call")
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
asked = llm.generate_response([{"role": "user", "content": "How is the weather?"}], tools=tools)
assert asked["tool_calls"][0]["name"] == "weather", asked
ok("tool call")
