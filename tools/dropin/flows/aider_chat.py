"""aider's check of exceptions at start-up, its models, and one call."""

from aider.exceptions import LiteLLMExceptions
from aider.models import Model

LiteLLMExceptions()
ok("exceptions")
model = Model("openai/gpt-sim")
assert model.token_count([{"role": "user", "content": "Hello there"}]) > 0
ok("tokens")
_, stream = model.send_completion([{"role": "user", "content": "Hello"}], functions=None, stream=True)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
ok("stream")
_, whole = model.send_completion([{"role": "user", "content": "Hello"}], functions=None, stream=False)
assert whole.choices[0].message.content
ok("call")
