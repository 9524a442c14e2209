from typing import Any

from headrace.compat.litellm.listening import CustomBatchLogger as CustomBatchLogger

def __getattr__(name: str) -> Any: ...
