"""A model's response, complete and streamed, and a tool call."""

import asyncio

from google.adk.models.lite_llm import LiteLlm
from google.adk.models.llm_request import LlmRequest
from google.genai import types


def request(text: str, *tools: types.Tool) -> LlmRequest:
    config = types.GenerateContentConfig(tools=list(tools) or None)
    return LlmRequest(contents=[types.Content(role="user", parts=[types.Part(text=text)])], config=config)


async def main() -> None:
    model = LiteLlm(model="openai/gpt-sim", api_base=BASE, api_key="sim")
    answers = [answer async for answer in model.generate_content_async(request("Hello"))]
    assert answers[-1].content.parts[0].text and answers[-1].usage_metadata.total_token_count > 0
    ok("call")
    pieces = [answer async for answer in model.generate_content_async(request("Hello"), stream=True)]
    assert len(pieces) > 1 and pieces[-1].content.parts[0].text
    ok("stream")
    schema = types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")})
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="weather", description="d", parameters=schema)])
    asked = [answer async for answer in model.generate_content_async(request("How is the weather?", tool))]
    assert asked[-1].content.parts[0].function_call.name == "weather", asked
    ok("tool call")


asyncio.run(main())
