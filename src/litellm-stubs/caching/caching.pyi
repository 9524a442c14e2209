from typing import Any

from headrace.compat.litellm.caching import Cache as Cache
from headrace.compat.litellm.caching import DualCache as DualCache
from headrace.compat.litellm.caching import InMemoryCache as InMemoryCache
from headrace.compat.litellm.caching import LiteLLMCacheType as LiteLLMCacheType

def __getattr__(name: str) -> Any: ...
