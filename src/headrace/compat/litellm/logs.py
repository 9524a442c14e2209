"""litellm's loggers, and the executor that some programs hook."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from headrace.calls import Call
from headrace.compat.litellm.stand_in import setting

verbose_logger: Final = logging.getLogger("LiteLLM")
verbose_router_logger: Final = logging.getLogger("LiteLLM Router")
verbose_proxy_logger: Final = logging.getLogger("LiteLLM Proxy")
_LEVELS: Final = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "ERROR": logging.ERROR}
_ALL: Final = (verbose_logger, verbose_router_logger, verbose_proxy_logger)

for _logger in _ALL:
    if not _logger.handlers:  # dspy and moesif expect a handler
        _logger.addHandler(logging.StreamHandler())
        _logger.setLevel(_LEVELS.get(os.environ.get("LITELLM_LOG", "").upper(), logging.WARNING))

executor: Final = ThreadPoolExecutor(max_workers=32, thread_name_prefix="litellm")
"""Starts no thread before something is submitted."""


def _disable_debugging() -> None:
    for logger in _ALL:
        logger.disabled = True


def _turn_on_debug() -> None:
    for logger in _ALL:
        logger.disabled = False
        logger.setLevel(logging.DEBUG)


def _turn_on_json() -> None:
    """Does nothing: log formatting is up to the program."""


def told_of(call: Call) -> None:
    """Log each call at level DEBUG, which `litellm.set_verbose` and LITELLM_LOG=DEBUG enable: its options, not its content."""
    if setting("set_verbose") and verbose_logger.level > logging.DEBUG:
        _turn_on_debug()
    if verbose_logger.isEnabledFor(logging.DEBUG):
        options = sorted(name for name in call.body if name != call.operation.prompt)
        verbose_logger.debug("%s %s%s", call.operation.name, call.model, f" with {', '.join(options)}" if options else "")


def print_verbose(statement: Any, **_: Any) -> None:
    verbose_logger.debug("%s", statement)
