"""aviary's tool selection."""

import asyncio
from functools import partial

import litellm
from aviary.core import Message, Tool, ToolSelector


def weather(city: str) -> str:
    """The weather.

    Args:
        city: Where.
    """
    return f"fine in {city}"


selector = ToolSelector("openai/gpt-sim", acompletion=partial(litellm.acompletion, api_base=BASE, api_key="sim"))
chosen = asyncio.run(selector([Message(content="What is the weather in Xi'an?")], [Tool.from_function(weather)]))
assert chosen.tool_calls[0].function.name == "weather", chosen
ok("tool call")
