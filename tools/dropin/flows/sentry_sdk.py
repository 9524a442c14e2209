"""Sentry's integration, which records every call."""

import litellm
import sentry_sdk
from sentry_sdk.integrations.litellm import LiteLLMIntegration

events = []
sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1", integrations=[LiteLLMIntegration()], traces_sample_rate=1.0, send_default_pii=True,
    before_send_transaction=lambda event, hint: events.append(event), default_integrations=False,
)  # fmt: skip
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
with sentry_sdk.start_transaction(name="t"):
    litellm.completion(**asked)
spans = events[-1]["spans"]
assert spans and spans[0]["op"].startswith("gen_ai"), spans
assert spans[0]["data"]["gen_ai.usage.total_tokens"] > 0, spans
ok("span of a call")
with sentry_sdk.start_transaction(name="t"):
    try:
        litellm.completion(**{**asked, "model": "openai/nobody"}, num_retries=0)
    except litellm.NotFoundError:
        pass
assert events[-1]["spans"], events[-1]
ok("span of a failure")
