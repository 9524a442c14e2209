"""Secrets that a configuration refers to instead of containing.

They are in the environment, in files, or returned by the operator's own function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from headrace.errors import ConfigurationError

ENVIRONMENT: Final = "os.environ/"
FILE: Final = "file://"
HOOK: Final = "secret://"

Hook = Callable[[str], str]


Stamp: TypeAlias = tuple[int, int, int] | None


def stamp_of(path: Path) -> Stamp:
    """A value that changes with the file, also when a symbolic link is switched, as Kubernetes does; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Secrets:
    """Replaces references by secrets. Remembers the files it read, as a change of theirs must reload the configuration."""

    def __init__(self, environment: Mapping[str, str], hook: Hook | None = None) -> None:
        self._environment = environment
        self._hook = hook
        self.files: dict[Path, Stamp] = {}

    def of(self, value: Any, *, environment: bool = True) -> Any:
        """`value` with all references resolved. environment: whether that includes `os.environ/NAME`.

        Raises ConfigurationError naming the variable, the file or the secret, but never its value.
        """
        if isinstance(value, str):
            return self._named(value, environment)
        if isinstance(value, Mapping):
            return {name: self.of(inner, environment=environment) for name, inner in value.items()}
        return [self.of(inner, environment=environment) for inner in value] if isinstance(value, list) else value

    def _named(self, value: str, environment: bool) -> str:
        if value.startswith(FILE):
            return self._read(Path(value.removeprefix(FILE)))
        if value.startswith(HOOK):
            return self._asked(value.removeprefix(HOOK))
        if environment and value.startswith(ENVIRONMENT):
            name = value.removeprefix(ENVIRONMENT)
            if not self._environment.get(name):
                raise ConfigurationError(f"the environment variable {name} is not set")
            return self._environment[name]
        return value

    def _read(self, path: Path) -> str:
        self.files[path] = stamp_of(path)
        try:
            found = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"the file {path} cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
        if not found:
            raise ConfigurationError(f"the file {path} is empty")
        return found

    def _asked(self, name: str) -> str:
        if self._hook is None:
            raise ConfigurationError(
                f"{HOOK}{name} needs general_settings.secret_hook: the function that returns it, as package.module:name"
            )
        try:
            found = self._hook(name)
        except Exception as error:
            raise ConfigurationError(f"the secret {name!r} was not found: secret_hook raised {type(error).__name__}") from error
        if not isinstance(found, str) or not found:
            raise ConfigurationError(f"the secret {name!r} was not found: secret_hook returned nothing")
        return found


def hook_of(named: Any) -> Hook:
    """The function at `package.module:name`. Raises ConfigurationError."""
    module, _, name = str(named).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"general_settings.secret_hook: there is no {named!r} ({type(error).__name__})") from None
    if not callable(found):
        raise ConfigurationError(f"general_settings.secret_hook: {named!r} is not a function")
    return found  # type: ignore[no-any-return]
