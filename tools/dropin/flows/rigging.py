"""A generator called, called many times at once, and with a tool."""

import asyncio

import rigging

generator = rigging.get_generator(f"litellm!openai/gpt-sim,api_base={BASE},api_key=sim")


@rigging.tool
def weather(city: str) -> str:
    """The weather."""
    return f"fine in {city}"


async def main() -> None:
    chat = await generator.chat([{"role": "user", "content": "Hello"}]).run()
    assert chat.last.content
    ok("call")
    chats = await generator.chat("Hello").run_many(3)
    assert len(chats) == 3 and all(chat.last.content for chat in chats)
    ok("many at once")
    chat = await generator.chat("What is the weather in Xi'an?").using(weather).run()
    assert any(message.role == "tool" for message in chat.all), chat.all
    assert chat.usage.total_tokens > 0
    ok("tool loop")


asyncio.run(main())
