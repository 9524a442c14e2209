"""Optional packages that a program brings itself, as for litellm. headrace needs none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headrace.errors import ConfigurationError


def theirs(package: str) -> Any:
    """Import the program's own `package`. Raises ConfigurationError that tells how to install it."""
    try:
        return import_module(package)
    except ImportError:
        raise ConfigurationError(f"this needs the package {package}: pip install {package}") from None
