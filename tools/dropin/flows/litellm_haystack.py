"""Haystack's generators over litellm."""

from haystack.dataclasses import ChatMessage
from haystack.utils import Secret
from haystack_integrations.components.generators.litellm import LiteLLMChatGenerator

generator = LiteLLMChatGenerator(model="openai/gpt-sim", api_key=Secret.from_token("sim"), api_base_url=BASE)
assert generator.run([ChatMessage.from_user("Hello")])["replies"][0].text
ok("call")
pieces = []
streaming = LiteLLMChatGenerator(
    model="openai/gpt-sim", api_key=Secret.from_token("sim"), api_base_url=BASE, streaming_callback=pieces.append
)
assert streaming.run([ChatMessage.from_user("Hello")])["replies"] and pieces
ok("stream")
