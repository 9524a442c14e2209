"""Reads configuration files.

Keeps the line of every value, merges included files, and converts headrace's short form to LiteLLM's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.calls import shape
from headrace.config_file import Lines, read_with_lines
from headrace.errors import ConfigurationError
from headrace.gateway.secret_values import Stamp, stamp_of

Place: TypeAlias = tuple[str | int, ...]
"""The path to a value: names and positions from the top."""

SHORT: Final[Mapping[str, str]] = {"router": "router_settings", "gateway": "general_settings", "environment": "environment_variables"}
"""headrace's own names of sections, besides `models`."""


class Problem(Struct, frozen=True):
    """One mistake, and where it is."""

    what: str
    at: str = ""
    """`file:line`, or only the file if the line is unknown."""

    def __str__(self) -> str:
        return f"{self.at}: {self.what}" if self.at else self.what


class Source(Struct, eq=False):
    """The merged content of one or several files."""

    content: dict[str, Any]
    lines: dict[Place, str]
    """`file:line` by place."""
    files: dict[Path, Stamp]
    """The stamp of each file before it was read."""
    name: str
    """The name of the first file."""
    renamed: dict[str, str] = {}
    """How the file spells the places that errors name, if it uses the short form."""
    problems: list[Problem] = []

    def problem(self, what: str, at: Place | None = None) -> None:
        """Note a mistake. Unless `at` is given, its place is parsed from the beginning of the message."""
        place = place_of(what) if at is None else at
        while place and place not in self.lines:
            place = place[:-1]
        for told, spelled in self.renamed.items():
            what = what.replace(told, spelled)
        self.problems.append(Problem(what, self.lines.get(place, self.name)))


_STEP: Final = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\[['\"]([^'\"]*)['\"]\]")


def place_of(message: str) -> Place:
    """The place that a message begins with: `model_list[0].litellm_params.rpm must …`."""
    return tuple(_steps(message))


def _steps(message: str) -> Iterator[str | int]:
    at = 0
    while (found := _STEP.match(message, at)) and (at == 0 or found.group()[0] in ".["):
        name, number, key = found.groups()
        yield int(number) if number else name or key or ""
        at = found.end()


def read_source(path: Path) -> Source:
    """A file with all that it includes. Raises ConfigurationError for one that cannot be read at all."""
    source = _read(path, ())
    _put_in_long_form(source)
    return source


def _read(path: Path, above: tuple[Path, ...]) -> Source:
    stamp = stamp_of(path)
    content, lines = read_with_lines(path)
    if isinstance(content, list):  # only the deployments
        content, lines = {"model_list": content}, Lines({("model_list", *place): line for place, line in lines.of.items()}, lines.twice)
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{path} must contain a mapping with model_list or models, got {shape(content)}")
    if path.resolve() in above:
        raise ConfigurationError(f"{path}: the files include one another in a cycle")
    source = Source(dict(content), _named(lines, path), {path: stamp}, str(path))
    for twice, line in lines.twice:
        source.problems.append(Problem(f"{twice} is given twice, and the second hides the first", f"{path}:{line}"))
    included = source.content.pop("include", None) or ()
    for name in [included] if isinstance(included, str) else included:
        _join(source, _read(path.parent / str(name), (*above, path.resolve())))
    return source


def _named(lines: Lines, path: Path) -> dict[Place, str]:
    return {place: f"{path}:{line}" for place, line in lines.of.items()}


def _join(own: Source, other: Source) -> None:
    """Merge an included file: lists are appended, mappings merged; otherwise the including file wins."""
    for section, value in other.content.items():
        there = own.content.get(section)
        if isinstance(there, list) and isinstance(value, list):
            own.content[section] = there + value
            _take_lines(own, other, section, len(there))
        elif isinstance(there, Mapping) and isinstance(value, Mapping):
            own.content[section] = {**value, **there}
            _take_lines(own, other, section, 0)
        elif there is None:
            own.content[section] = value
            _take_lines(own, other, section, 0)
    own.files |= other.files
    own.problems += other.problems


def _take_lines(own: Source, other: Source, section: str, after: int) -> None:
    for place, line in other.lines.items():
        if place[:1] == (section,):
            own.lines.setdefault(_moved(place, after), line)


def _moved(place: Place, by: int) -> Place:
    """The place of a list's item after `by` others were put before it."""
    at = place[1] if len(place) > 1 else None
    return (place[0], at + by, *place[2:]) if isinstance(at, int) else place


# ---- the short form
# --------------------------------------------------------------------------------------------------------------


def _put_in_long_form(source: Source) -> None:
    content, lines = source.content, source.lines
    for ours, theirs in SHORT.items():
        if ours not in content:
            continue
        if theirs in content:
            source.problem(f"{ours} and {theirs} are two names of one section: keep one", (ours,))
        content[theirs] = content.pop(ours)
        lines |= {(theirs, *place[1:]): line for place, line in lines.items() if place[:1] == (ours,)}
        source.renamed[f"{theirs}."] = f"{ours}."
    if "models" in content:
        if "model_list" in content:
            source.problem("models and model_list both list the deployments: keep one", ("models",))
        content["model_list"] = list(_entries(source, content.pop("models")))


def _entries(source: Source, models: Any) -> Iterator[Any]:
    """`{group: deployment, or list of deployments}` as entries of a `model_list`. A deployment may be just a model's name."""
    if not isinstance(models, Mapping):
        source.problem(f"models must be a mapping from names to deployments, got {shape(models)}", ("models",))
        return
    number = 0
    for group, given in models.items():
        many = isinstance(given, list)
        for at, deployment in enumerate(given if many else [given]):
            old: Place = ("models", str(group), at) if many else ("models", str(group))
            yield _entry(source, str(group), deployment, old, number)
            number += 1


def _entry(source: Source, group: str, deployment: Any, old: Place, number: int) -> Any:
    fields = {"model": deployment} if isinstance(deployment, str) else deployment
    new: Place = ("model_list", number)
    spelled = f"models.{group}" + (f"[{old[2]}]" if len(old) > 2 else "")
    source.renamed[f"model_list[{number}].litellm_params"] = spelled
    source.renamed[f"model_list[{number}].model_info"] = spelled
    source.renamed[f"model_list[{number}]"] = spelled
    found = {place[len(old) :]: line for place, line in source.lines.items() if place[: len(old)] == old}
    source.lines |= {(*new, *rest): line for rest, line in found.items() if not rest}
    source.lines |= {(*new, kind, *rest): line for rest, line in found.items() for kind in ("litellm_params", "model_info")}
    if not isinstance(fields, Mapping):
        source.problem(f"{spelled} must be a model's name or a mapping, got {shape(fields)}", new)
        return None
    params = {name: value for name, value in fields.items() if name not in ("id", "info")}
    said = fields.get("info")
    info = {**(said if isinstance(said, Mapping) else {}), **({"id": fields["id"]} if "id" in fields else {})}
    return {"model_name": group, "litellm_params": params, **({"model_info": info} if info else {})}
