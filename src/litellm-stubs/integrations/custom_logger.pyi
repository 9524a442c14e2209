from typing import Any

from headrace.compat.litellm.listening import CustomLogger as CustomLogger

def __getattr__(name: str) -> Any: ...
