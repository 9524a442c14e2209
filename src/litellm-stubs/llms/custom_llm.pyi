from typing import Any

from headrace.compat.litellm.custom import CustomLLM as CustomLLM
from headrace.compat.litellm.custom import CustomLLMError as CustomLLMError

def __getattr__(name: str) -> Any: ...
