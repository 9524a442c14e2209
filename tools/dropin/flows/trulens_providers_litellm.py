"""TruLens' feedback provider over litellm."""

from trulens.providers.litellm import LiteLLM

provider = LiteLLM(model_engine="openai/gpt-sim", completion_kwargs={"api_base": BASE, "api_key": "sim"})
assert provider.endpoint.run_in_pace(provider._create_chat_completion, prompt="Hello")
ok("call")
