"""A prompt function called, streamed and awaited, with an object and with a tool."""

import asyncio

from magentic import FunctionCall, StreamedStr, prompt
from magentic.chat_model.litellm_chat_model import LitellmChatModel
from pydantic import BaseModel

model = LitellmChatModel("openai/gpt-sim", api_base=BASE)


class City(BaseModel):
    name: str


def weather(city: str) -> str:
    """The weather."""
    return f"fine in {city}"


@prompt("Say {word}", model=model)
def say(word: str) -> str: ...


@prompt("Say {word}", model=model)
def stream(word: str) -> StreamedStr: ...


@prompt("Say {word}", model=model)
async def asay(word: str) -> str: ...


@prompt("What is the weather in {city}?", functions=[weather], model=model)
def ask(city: str) -> FunctionCall[str]: ...


@prompt("Name a city like {city}", model=model)
def alike(city: str) -> City: ...


assert say("hi")
ok("call")
assert "".join(stream("hi"))
ok("stream")
assert asyncio.run(asay("hi"))
ok("async")
assert ask("Xi'an")().startswith("fine in ")
ok("tool call")
assert alike("Xi'an").name
ok("structured output")
