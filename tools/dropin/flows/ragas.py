"""Ragas' model factory and embeddings over litellm."""

import instructor
import litellm
from pydantic import BaseModel
from ragas.llms import llm_factory


class Answer(BaseModel):
    text: str


llm = llm_factory("openai/gpt-sim", provider="litellm", client=instructor.from_litellm(litellm.completion), adapter="litellm")
assert isinstance(llm.generate("Hello", response_model=Answer), Answer)
ok("structured output")
from ragas.embeddings import LiteLLMEmbeddings

embeddings = LiteLLMEmbeddings(model="openai/embed-sim", api_key="sim", api_base=BASE)
assert len(embeddings.embed_text("hello")) > 1
ok("embeddings")
