from typing import Any

from headrace.compat.litellm.caching import InMemoryCache as InMemoryCache

def __getattr__(name: str) -> Any: ...
