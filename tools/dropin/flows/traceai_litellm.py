"""Future AGI's spans of litellm's calls."""

import asyncio

import litellm
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from traceai_litellm import LiteLLMInstrumentor

kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
LiteLLMInstrumentor().instrument(tracer_provider=provider)
asked = dict(model="openai/gpt-sim", api_base=BASE, api_key="sim", messages=[{"role": "user", "content": "Hello"}])
assert litellm.completion(**asked).choices[0].message.content
assert len(kept.get_finished_spans()) == 1
ok("span of a call")
assert list(litellm.completion(**asked, stream=True))
assert len(kept.get_finished_spans()) == 2
ok("span of a stream")
asyncio.run(litellm.acompletion(**asked))
litellm.embedding(model="openai/embed-sim", input="a", api_base=BASE, api_key="sim")
assert len(kept.get_finished_spans()) == 4
ok("spans of async calls and embeddings")
