from typing import Any

from headrace.compat.litellm.caching import DualCache as DualCache

def __getattr__(name: str) -> Any: ...
