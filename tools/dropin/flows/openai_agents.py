"""An agent's tool loop and its stream over the litellm extension."""

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.extensions.models.litellm_model import LitellmModel

set_tracing_disabled(True)


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "fine"


async def main() -> None:
    model = LitellmModel(model="openai/gpt-sim", base_url=BASE, api_key="sim")
    agent = Agent(name="a", instructions="Be brief.", model=model, tools=[weather])
    done = await Runner.run(agent, "How is the weather?")
    assert done.final_output and any("tool_call" in item.type for item in done.new_items), done.new_items
    ok("tool loop")
    stream = Runner.run_streamed(agent, "Hello")
    events = [event async for event in stream.stream_events()]
    assert stream.final_output and len(events) > 3
    ok("stream")
    assert done.context_wrapper.usage.total_tokens > 0
    ok("usage")


asyncio.run(main())
