"""OpenInference's spans of calls."""

import asyncio

import litellm
from openinference.instrumentation.litellm import LiteLLMInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
LiteLLMInstrumentor().instrument(tracer_provider=provider)
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
litellm.completion(**asked)
(span,) = exporter.get_finished_spans()
assert span.attributes["llm.token_count.total"] > 0, dict(span.attributes)
ok("span of a call")
exporter.clear()
list(litellm.completion(**asked, stream=True))
assert exporter.get_finished_spans()[0].attributes.get("output.value")
ok("span of a stream")
exporter.clear()


async def whole():
    await litellm.acompletion(**asked)
    async for _ in await litellm.acompletion(**asked, stream=True):
        pass
    await litellm.aembedding(model="openai/embed-sim", input=["a"], api_base=BASE, api_key="sim")


asyncio.run(whole())
assert len(exporter.get_finished_spans()) == 3, exporter.get_finished_spans()
ok("spans of async calls")
exporter.clear()
litellm.responses(model="openai/gpt-sim", input="Hello", api_base=BASE, api_key="sim")
assert exporter.get_finished_spans()
ok("span of a response")
LiteLLMInstrumentor().uninstrument()
