"""camel's LiteLLM model."""

from camel.agents import ChatAgent
from camel.models import LiteLLMModel

model = LiteLLMModel(model_type="openai/gpt-sim", api_key="sim", url=BASE, model_config_dict={"temperature": 0.0})
answer = model.run([{"role": "user", "content": "Hello"}])
assert answer.choices[0].message.content
ok("call")
assert model.token_counter.count_tokens_from_messages([{"role": "user", "content": "Hello"}]) > 0
ok("tokens")
assert ChatAgent("Be brief.", model=model).step("Hello").msgs[0].content
ok("agent")
