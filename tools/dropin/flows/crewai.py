"""A model called, streamed, with a tool."""

from crewai import LLM

llm = LLM(model="openai/gpt-sim", base_url=BASE, api_key="sim", is_litellm=True)
assert type(llm) is LLM, type(llm)
assert llm.call("Hello")
ok("call")
assert LLM(model="openai/gpt-sim", base_url=BASE, api_key="sim", is_litellm=True, stream=True).call("Hello")
ok("stream")
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": schema}}]
heard = []
llm.call("How is the weather?", tools=tools, available_functions={"weather": lambda city: heard.append(city) or "fine"})
assert heard
ok("tool call")
