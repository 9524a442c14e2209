"""A model called, streamed and with a tool; the router model."""

from smolagents import LiteLLMModel, LiteLLMRouterModel, tool


@tool
def weather(city: str) -> str:
    """The weather.

    Args:
        city: Where.
    """
    return f"fine in {city}"


said = [{"role": "user", "content": [{"type": "text", "text": "What is the weather in Xi'an?"}]}]
model = LiteLLMModel("openai/gpt-sim", api_base=BASE, api_key="sim")
assert model.generate([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]).content
ok("call")
deltas = list(model.generate_stream([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]))
assert "".join(delta.content or "" for delta in deltas) and any(delta.token_usage for delta in deltas)
ok("stream")
asked = model.generate(said, tools_to_call_from=[weather])
assert asked.tool_calls[0].function.name == "weather", asked
ok("tool call")
routed = LiteLLMRouterModel(
    "group",
    [{"model_name": "group", "litellm_params": {"model": "openai/gpt-sim", "api_base": BASE, "api_key": "sim"}}],
    client_kwargs={"routing_strategy": "simple-shuffle"},
)
assert routed.generate([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]).content
ok("router")
