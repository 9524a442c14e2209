from typing import Any

from headrace.compat.litellm.values import version as version

def __getattr__(name: str) -> Any: ...
