from typing import Any

from headrace.compat.litellm.questions import get_llm_provider as get_llm_provider

def __getattr__(name: str) -> Any: ...
