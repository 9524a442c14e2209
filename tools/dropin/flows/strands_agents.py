"""An agent's tool loop over a stream."""

from strands import Agent, tool
from strands.models.litellm import LiteLLMModel


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return "fine"


model = LiteLLMModel(client_args={"api_key": "sim", "api_base": BASE}, model_id="openai/gpt-sim")
agent = Agent(model=model, tools=[weather], callback_handler=None)
done = agent("How is the weather?")
assert str(done).strip()
assert any("toolUse" in part for message in agent.messages for part in message["content"]), agent.messages
ok("tool loop over a stream")
assert done.metrics.accumulated_usage["totalTokens"] > 0
ok("usage")
