"""Datadog's patch of litellm."""

import asyncio
import os

os.environ |= {"DD_TRACE_ENABLED": "true", "DD_TRACE_AGENT_URL": "http://127.0.0.1:9", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
from ddtrace import patch
from ddtrace.trace import tracer

patch(litellm=True)
import litellm

spans = []


class Keep(__import__("ddtrace").trace.TraceFilter):
    def process_trace(self, trace):
        spans.extend(trace)
        return


tracer.configure(trace_processors=[Keep()])
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
assert litellm.completion(**asked).choices[0].message.content
assert spans and spans[-1].name == "litellm.request" and spans[-1].get_tag("litellm.request.model"), spans
ok("span of a call")
before = len(spans)
assert list(litellm.completion(**asked, stream=True))
assert len(spans) > before
ok("span of a stream")
before = len(spans)
router = litellm.Router([{"model_name": "g", "litellm_params": {"model": "openai/gpt-sim", "api_base": BASE, "api_key": "sim"}}])
assert asyncio.run(router.acompletion("g", asked["messages"])).choices[0].message.content
assert len(spans) > before
ok("span of a Router's call")
