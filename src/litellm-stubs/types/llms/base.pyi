from typing import Any

from headrace.compat.litellm.values import BaseLiteLLMOpenAIResponseObject as BaseLiteLLMOpenAIResponseObject

def __getattr__(name: str) -> Any: ...
