from typing import Any

from headrace.compat.litellm.opik import OpikLogger as OpikLogger

def __getattr__(name: str) -> Any: ...
