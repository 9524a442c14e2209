from typing import Any

from headrace.compat.litellm.values import _FINISH_REASON_MAP as _FINISH_REASON_MAP
from headrace.compat.litellm.texts import safe_deep_copy as safe_deep_copy

__all__ = ["_FINISH_REASON_MAP", "safe_deep_copy"]

def __getattr__(name: str) -> Any: ...
