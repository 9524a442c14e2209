from typing import Any

from headrace.compat.litellm.wrapper import CustomStreamWrapper as CustomStreamWrapper

def __getattr__(name: str) -> Any: ...
