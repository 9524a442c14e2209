from typing import Any

from headrace.compat.litellm.listening import Logging as Logging

def __getattr__(name: str) -> Any: ...
