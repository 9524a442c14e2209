"""The chat model of browser-use."""

import asyncio

from browser_use.llm.litellm.chat import ChatLiteLLM
from browser_use.llm.messages import UserMessage
from pydantic import BaseModel


class Action(BaseModel):
    name: str


model = ChatLiteLLM(model="openai/gpt-sim", api_key="sim", api_base=BASE)
done = asyncio.run(model.ainvoke([UserMessage(content="Hello")]))
assert done.completion and done.usage.total_tokens
ok("call")
done = asyncio.run(model.ainvoke([UserMessage(content="Act")], output_format=Action))
assert isinstance(done.completion, Action)
ok("structured output")
