from typing import Any

from headrace.compat.litellm.listening import Logging as Logging
from headrace.compat.litellm.patched import _extract_response_obj_and_hidden_params as _extract_response_obj_and_hidden_params
from headrace.compat.litellm.patched import _in_memory_loggers as _in_memory_loggers
from headrace.compat.litellm.patched import _init_custom_logger_compatible_class as _init_custom_logger_compatible_class

__all__ = ["Logging", "_extract_response_obj_and_hidden_params", "_in_memory_loggers", "_init_custom_logger_compatible_class"]

def __getattr__(name: str) -> Any: ...
