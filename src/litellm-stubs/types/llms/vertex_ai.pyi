from typing import Any

from headrace.compat.litellm.values import PartType as PartType

def __getattr__(name: str) -> Any: ...
