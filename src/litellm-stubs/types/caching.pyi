from typing import Any

from headrace.compat.litellm.caching import LiteLLMCacheType as LiteLLMCacheType

def __getattr__(name: str) -> Any: ...
