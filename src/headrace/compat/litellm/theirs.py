"""Packages that a program brings along, as it would for litellm. headrace needs none of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from headrace.errors import ConfigurationError


def theirs(package: str) -> Any:
    """The program's own `package`. Raises ConfigurationError that says how to have it."""
    try:
        return import_module(package)
    except ImportError:
        raise ConfigurationError(f"this needs the package {package}: pip install {package}") from None
