from typing import Any

from headrace.compat.litellm.values import OutputFunctionToolCall as OutputFunctionToolCall

def __getattr__(name: str) -> Any: ...
