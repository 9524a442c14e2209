"""A PraisonAI agent."""

import os

os.environ |= {"PRAISONAI_TELEMETRY_DISABLED": "true", "OTEL_SDK_DISABLED": "true"}
from praisonaiagents import Agent
from praisonaiagents.llm import LLM

heard = []


def weather(city: str) -> str:
    """The weather of a city."""
    heard.append(city)
    return "fine"


assert LLM(model="openai/gpt-sim", base_url=BASE, api_key="sim").get_response("Hello", stream=False, verbose=False)
ok("call")
agent = Agent(instructions="Be brief", llm={"model": "openai/gpt-sim", "base_url": BASE, "api_key": "sim"}, tools=[weather])
agent.start("What is the weather in Xi'an?")
assert heard
ok("tool loop")
