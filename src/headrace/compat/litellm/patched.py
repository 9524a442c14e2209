"""Private names of litellm's logging that programs wrap or inspect; they work as named, for programs that call them."""

from __future__ import annotations

from typing import Any, Final

from headrace.compat.litellm import integrations

_in_memory_loggers: Final[list[Any]] = []
"""Loggers created by programs and stored here to be found again."""


def _init_custom_logger_compatible_class(logging_integration: str, *_: Any, **__: Any) -> Any:
    """The logger of an integration by name; None if headrace lacks it."""
    kept = next((one for one in _in_memory_loggers if type(one).__name__.lower().startswith(logging_integration.lower())), None)
    return kept or integrations.named(logging_integration)


def _extract_response_obj_and_hidden_params(init_response_obj: Any, original_exception: BaseException | None = None) -> tuple[Any, Any]:
    """A response as a dict, with its hidden params; for a failure, its headers."""
    if init_response_obj is not None:
        dump = getattr(init_response_obj, "model_dump", None)
        return dump() if dump else init_response_obj, getattr(init_response_obj, "_hidden_params", None)
    headers = getattr(getattr(original_exception, "response", None), "headers", None)
    return {}, None if headers is None else {"additional_headers": dict(headers)}
