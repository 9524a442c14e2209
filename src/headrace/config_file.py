"""Configuration files, in whatever form their owner likes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.errors import ConfigurationError

MISSING_YAML: Final = 'reading YAML needs one more package: pip install "headrace[cli]" (or write the configuration as JSON or TOML)'


def read_file(path: Path) -> Any:
    """What a .yaml, .yml, .json or .toml file holds. Raises ConfigurationError that names the file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        if path.suffix == ".json":
            return msgspec.json.decode(text)
        if path.suffix == ".toml":
            import tomllib  # late: only this kind of file needs it

            return tomllib.loads(text.decode())
    except ValueError as error:  # of either format, and of bytes that are not UTF-8
        raise ConfigurationError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from None
    return _yaml(path, text)


def _yaml(path: Path, text: bytes) -> Any:
    try:
        import yaml  # late: an optional package
    except ImportError:
        raise ConfigurationError(f"{path}: {MISSING_YAML}") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
