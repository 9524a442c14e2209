"""Chat, stream, tools, structured output, embeddings and the router through LangChain."""

import asyncio

import litellm
from langchain_core.messages import HumanMessage
from langchain_litellm import ChatLiteLLM, ChatLiteLLMRouter, LiteLLMEmbeddings
from pydantic import BaseModel


class Person(BaseModel):
    """A person."""

    name: str


chat = ChatLiteLLM(model="openai/gpt-sim", api_base=BASE, api_key="sim")
answer = chat.invoke([HumanMessage("Hello")])
assert answer.content and answer.usage_metadata["total_tokens"] > 0
ok("call")
assert "".join(chunk.content for chunk in chat.stream("Hello"))
ok("stream")


async def streamed() -> str:
    return "".join([chunk.content async for chunk in chat.astream("Hello")])


assert asyncio.run(streamed())
ok("stream, async")
assert isinstance(chat.with_structured_output(Person).invoke("Call the person"), Person)
ok("structured output")
assert len(LiteLLMEmbeddings(model="openai/embed-sim", api_base=BASE, api_key="sim").embed_documents(["a", "b"])) == 2
ok("embeddings")
entry = {"model_name": "group", "litellm_params": {"model": "openai/gpt-sim", "api_base": BASE, "api_key": "sim"}}
assert ChatLiteLLMRouter(router=litellm.Router(model_list=[entry]), model_name="group").invoke("Hello").content
ok("router")
