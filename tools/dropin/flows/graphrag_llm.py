"""GraphRAG's completions and embeddings."""

from graphrag_llm.completion import create_completion
from graphrag_llm.config import ModelConfig
from graphrag_llm.embedding import create_embedding

model = create_completion(ModelConfig(type="litellm", model_provider="openai", model="gpt-sim", api_base=BASE, api_key="sim"))
assert model.completion(messages="Hello").content
ok("call")
assert list(model.completion(messages="Hello", stream=True))
ok("stream")
embedder = create_embedding(ModelConfig(type="litellm", model_provider="openai", model="embed-sim", api_base=BASE, api_key="sim"))
assert len(embedder.embedding(input=["a", "b"]).embeddings) == 2
ok("embeddings")
