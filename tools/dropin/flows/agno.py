"""An agent called, streamed and with a tool; sync and async."""

import asyncio

from agno.agent import Agent
from agno.models.litellm import LiteLLM

heard = []


def weather(city: str) -> str:
    """The weather of a city."""
    heard.append(city)
    return "fine"


def model():
    return LiteLLM(id="openai/gpt-sim", api_key="sim", api_base=BASE)


assert Agent(model=model()).run("Hello").content
ok("call")
assert "".join(event.content or "" for event in Agent(model=model()).run("Hello", stream=True) if hasattr(event, "content"))
ok("stream")
assert asyncio.run(Agent(model=model()).arun("Hello")).content
ok("async")
Agent(model=model(), tools=[weather]).run("What is the weather in Xi'an?")
assert heard
ok("tool loop")
