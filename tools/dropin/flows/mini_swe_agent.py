"""The model of an agent that tracks its cost."""

import litellm
from minisweagent.models.litellm_model import LitellmModel

litellm.register_model(
    {"openai/gpt-sim": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "openai", "mode": "chat"}}
)
model = LitellmModel(model_name="openai/gpt-sim", model_kwargs={"api_base": BASE, "api_key": "sim", "tool_choice": "required"})
answer = model.query([{"role": "user", "content": "List the files with bash"}])
assert answer["role"] == "assistant" and answer["extra"]["cost"] > 0, answer
ok("call with its cost")
assert answer["extra"]["actions"], answer
ok("tool call")
