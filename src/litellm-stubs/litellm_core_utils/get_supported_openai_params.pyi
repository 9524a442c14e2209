from typing import Any

from headrace.models.parameters import get_supported_openai_params as get_supported_openai_params

def __getattr__(name: str) -> Any: ...
