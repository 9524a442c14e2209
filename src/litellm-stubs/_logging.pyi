from typing import Any

from headrace.compat.litellm.logs import _disable_debugging as _disable_debugging
from headrace.compat.litellm.logs import _turn_on_debug as _turn_on_debug
from headrace.compat.litellm.logs import _turn_on_json as _turn_on_json
from headrace.compat.litellm.logs import executor as executor
from headrace.compat.litellm.logs import print_verbose as print_verbose
from headrace.compat.litellm.logs import verbose_logger as verbose_logger
from headrace.compat.litellm.logs import verbose_proxy_logger as verbose_proxy_logger
from headrace.compat.litellm.logs import verbose_router_logger as verbose_router_logger

__all__ = ["_disable_debugging", "_turn_on_debug", "_turn_on_json", "executor", "print_verbose", "verbose_logger", "verbose_proxy_logger", "verbose_router_logger"]

def __getattr__(name: str) -> Any: ...
