"""Adds the OpenAI SDK's exceptions as bases of headrace's, if it is installed: `except openai.RateLimitError` catches ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from headrace import errors

THEIRS: Final[dict[str, str]] = {
    "BadRequestError": "BadRequestError", "AuthenticationError": "AuthenticationError", "PermissionDeniedError": "PermissionDeniedError",
    "NotFoundError": "NotFoundError", "UnprocessableEntityError": "UnprocessableEntityError", "RateLimitError": "RateLimitError",
    "InternalServerError": "InternalServerError", "ServiceUnavailableError": "APIStatusError", "BadGatewayError": "APIStatusError",
    "PaymentRequiredError": "APIStatusError", "Timeout": "APITimeoutError", "APIConnectionError": "APIConnectionError",
    "APIError": "APIError", "APIResponseValidationError": "APIResponseValidationError",
}  # fmt: skip
"""litellm's exception classes and the SDK class that each derives from."""


def bind() -> None:
    """Add the SDK's classes as bases, if it is loaded. Programs that do not use it pay nothing."""
    sdk = sys.modules.get("openai")
    if sdk is None or not hasattr(sdk, "APIStatusError"):
        return
    for ours, theirs in THEIRS.items():
        cls, base = getattr(errors, ours), getattr(sdk, theirs)
        if not issubclass(cls, base):
            cls.__bases__ = (*cls.__bases__, base)


class Watcher(MetaPathFinder):
    """An import hook that binds the classes when the SDK is imported later."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "openai":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenBind(spec.loader)
        return spec


class _ThenBind(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        bind()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
