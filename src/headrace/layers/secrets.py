"""Finds keys and tokens in texts by pattern: those of detect-secrets and of model providers. Needs the extra `guardrails`."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final

from detect_secrets import plugins
from detect_secrets.plugins.base import RegexBasedDetector

from headrace.errors import ConfigurationError
from headrace.layers.guardrails import Finding, Guardrail
from headrace.layers.secret_forms import HOUSES

_NO_SECRETS: Final = frozenset({"IPPublicDetector"})


@cache
def patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(kind, pattern) of all known secrets, those of model providers first."""
    found = [(kind, re.compile(form)) for kind, form in HOUSES.items()]
    for module in pkgutil.iter_modules(plugins.__path__):
        for name, cls in vars(import_module(f"{plugins.__name__}.{module.name}")).items():
            if _is_detector(name, cls):
                kind = re.sub(r"[^A-Z0-9]+", "_", cls.secret_type.upper()).strip("_")
                found += [(kind, re.compile(form)) for form in cls.denylist]
    return tuple(found)


def _is_detector(name: str, cls: Any) -> bool:
    if not isinstance(cls, type) or not issubclass(cls, RegexBasedDetector) or cls is RegexBasedDetector:
        return False
    return name not in _NO_SECRETS and not cls.__abstractmethods__


class Secrets(Guardrail):
    """Masks or refuses keys and tokens of clouds, code hosts and model providers, private keys, and passwords in URLs.

    kinds: some of `known()`, by default all.
    """

    name = "secrets"
    window = 120  # matches without spaces are never cut; assignments such as `password = "…"` have some

    def __init__(self, *, kinds: Sequence[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        if kinds is not None and (isinstance(kinds, str) or not set(kinds) <= known()):
            raise ConfigurationError(f"kinds must be a list of one or more of {', '.join(sorted(known()))}")
        self._patterns = [(kind, form) for kind, form in patterns() if kinds is None or kind in kinds]

    def find(self, text: str) -> Iterable[Finding]:
        for kind, form in self._patterns:
            for match in form.finditer(text):
                if match.end() > match.start():
                    yield Finding(match.start(), match.end(), kind)


def known() -> frozenset[str]:
    """All kinds that can be found."""
    return frozenset(kind for kind, _ in patterns())
