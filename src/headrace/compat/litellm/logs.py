"""litellm's loggers, and the executor that some programs hook."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

verbose_logger: Final = logging.getLogger("LiteLLM")
verbose_router_logger: Final = logging.getLogger("LiteLLM Router")
verbose_proxy_logger: Final = logging.getLogger("LiteLLM Proxy")
_ALL: Final = (verbose_logger, verbose_router_logger, verbose_proxy_logger)

for _logger in _ALL:
    if not _logger.handlers:  # dspy and moesif look for one
        _logger.addHandler(logging.StreamHandler())
        _logger.setLevel(logging.WARNING)

executor: Final = ThreadPoolExecutor(max_workers=32, thread_name_prefix="litellm")
"""No thread starts before something is submitted."""


def _disable_debugging() -> None:
    for logger in _ALL:
        logger.disabled = True


def _turn_on_debug() -> None:
    for logger in _ALL:
        logger.disabled = False
        logger.setLevel(logging.DEBUG)


def _turn_on_json() -> None:
    """Nothing to do: the log is the program's own to format."""


def print_verbose(statement: Any, **_: Any) -> None:
    verbose_logger.debug("%s", statement)
