from typing import Any

from headrace.compat.litellm.values import MAX_CALLBACKS as MAX_CALLBACKS

def __getattr__(name: str) -> Any: ...
