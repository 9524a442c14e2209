from typing import Any

from headrace.compat.litellm.caching import Cache as Cache
from headrace.compat.litellm.caching import CacheMode as CacheMode
from headrace.compat.litellm.caching import DualCache as DualCache
from headrace.compat.litellm.caching import InMemoryCache as InMemoryCache
from headrace.compat.litellm.caching import LiteLLMCacheType as LiteLLMCacheType
from headrace.compat.litellm.caching import disable_cache as disable_cache
from headrace.compat.litellm.caching import enable_cache as enable_cache
from headrace.compat.litellm.caching import update_cache as update_cache

def __getattr__(name: str) -> Any: ...
