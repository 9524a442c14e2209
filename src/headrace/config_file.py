"""Reads configuration files in YAML, JSON or TOML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from headrace.errors import ConfigurationError

MISSING_YAML: Final = 'reading YAML needs one more package: pip install "headrace[cli]" (or write the configuration as JSON or TOML)'


_FLOAT: Final = re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+")
"""A float in YAML 1.2 that PyYAML reads as a string, because YAML 1.1 requires a decimal point and a signed exponent."""


Place: TypeAlias = tuple[str | int, ...]
"""Path of keys and list positions from the document's root."""


class Lines(Struct, eq=False):
    """Line numbers within a configuration file."""

    of: dict[Place, int] = {}
    """The line of each place, counted from 1; empty for TOML, whose parser does not report lines."""
    twice: list[tuple[str, int]] = []
    """Keys that occur twice in one mapping, and the line of the second."""


def read_with_lines(path: Path) -> tuple[Any, Lines]:
    """A file's content and line numbers. Raises ConfigurationError that names the file."""
    if path.suffix == ".toml":
        return read_file(path), Lines()
    if path.suffix == ".json":
        content = read_file(path)
        return content, _lines_of(path)
    return _yaml_with_lines(path, _bytes(path))


def _lines_of(path: Path) -> Lines:
    """Line numbers of a JSON file, read as YAML; none if PyYAML is missing or cannot parse it."""
    try:
        return _yaml_with_lines(path, _bytes(path))[1]
    except ConfigurationError:
        return Lines()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None


def read_file(path: Path) -> Any:
    """The content of a .yaml, .yml, .json or .toml file. Raises ConfigurationError that names the file."""
    text = _bytes(path)
    try:
        if path.suffix == ".json":
            return msgspec.json.decode(text)
        if path.suffix == ".toml":
            import tomllib  # late: only TOML files need it

            return tomllib.loads(text.decode())
    except ValueError as error:  # from either parser, or bytes that are not UTF-8
        raise ConfigurationError(f"{path} is not valid {path.suffix[1:].upper()}: {error}") from None
    return _yaml(path, text)


def _yaml(path: Path, text: bytes) -> Any:
    return _yaml_with_lines(path, text)[0]


def _yaml_with_lines(path: Path, text: bytes) -> tuple[Any, Lines]:
    try:
        import yaml  # late: an optional package
    except ImportError:
        raise ConfigurationError(f"{path}: {MISSING_YAML}") from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, Lines()
        lines = Lines()
        _note(node, (), lines)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        said = str(error).replace('"<byte string>"', path.name)
        raise ConfigurationError(f"{path} is not valid YAML: {' '.join(said.split())}") from None


def _note(node: Any, place: Place, lines: Lines) -> None:
    """Record the lines of a YAML node and of all nodes below it."""
    lines.of.setdefault(place, node.start_mark.line + 1)
    if node.id == "sequence":
        for number, inner in enumerate(node.value):
            _note(inner, (*place, number), lines)
    elif node.id == "mapping":
        for key, inner in node.value:
            _note_named(key, inner, place, lines)
    elif node.tag == "tag:yaml.org,2002:str" and node.style is None and _FLOAT.fullmatch(node.value):
        node.tag = "tag:yaml.org,2002:float"


def _note_named(key: Any, inner: Any, place: Place, lines: Lines) -> None:
    if key.id != "scalar" or key.tag == "tag:yaml.org,2002:merge":
        return
    at = (*place, str(key.value))
    if at in lines.of:
        lines.twice.append((".".join(map(str, at)), key.start_mark.line + 1))
        for below in [other for other in lines.of if other[: len(at)] == at]:  # the second key overrides them
            del lines.of[below]
    lines.of[at] = key.start_mark.line + 1
    _note(inner, at, lines)
