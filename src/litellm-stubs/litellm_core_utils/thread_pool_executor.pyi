from typing import Any

from headrace.compat.litellm.logs import executor as executor

def __getattr__(name: str) -> Any: ...
