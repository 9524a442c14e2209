from typing import Any

from headrace.compat.litellm.values import GuardrailEventHooks as GuardrailEventHooks

def __getattr__(name: str) -> Any: ...
