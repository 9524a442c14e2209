"""Chat, completion, stream, tools."""

import asyncio

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.litellm import LiteLLM


def weather(city: str) -> str:
    """The weather."""
    return "fine"


llm = LiteLLM("openai/gpt-sim", api_base=BASE, api_key="sim")
assert llm.chat([ChatMessage(role="user", content="Hello")]).message.content
ok("call")
assert list(llm.stream_chat([ChatMessage(role="user", content="Hello")]))[-1].message.content
ok("stream")


async def both() -> None:
    assert (await llm.achat([ChatMessage(role="user", content="Hello")])).message.content
    assert [chunk async for chunk in await llm.astream_chat([ChatMessage(role="user", content="Hello")])]


asyncio.run(both())
ok("async")
asked = llm.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="How is the weather?")
assert llm.get_tool_calls_from_response(asked)[0].tool_name == "weather"
ok("tool call")
