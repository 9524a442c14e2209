"""Tools and tool choice between Gemini and the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from msgspec import UNSET

from headrace.dialects.fields import items, merged, obj, optional, rest, string
from headrace.dialects.gemini.models import version
from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.schemas import reduced, standard
from headrace.dialects.own_tools import said_in
from headrace.errors import BadRequestError
from headrace.types import Extra, Json, Tool, ToolChoice

_BESIDE: Final = "beside"
"""UNSET under this key marks a tool that shared an entry with the previous tool."""

_DECLARATION: Final = frozenset({"name", "description", "parametersJsonSchema", "parameters"})

# ---- reading -----------------------------------------------------------------------------------------------------------------------


def read_tools(value: Json) -> tuple[Tool, ...]:
    entries = [value] if isinstance(value, Mapping) else items(value, "tools")
    return tuple([tool for index, entry in enumerate(entries) for tool in _read_entry(entry, f"tools[{index}]")])


def _read_entry(value: Json, at: str) -> list[Tool]:
    """An entry's functions, and each of Google's built-in tools by name."""
    entry = camel(obj(value, at))
    found: list[Tool] = []
    for name, said in entry.items():
        if name == "functionDeclarations" and said:
            declared = [said] if isinstance(said, Mapping) else items(said, f"{at}.functionDeclarations")
            found += [_read_function(item, f"{at}.functionDeclarations[{place}]") for place, item in enumerate(declared)]
        else:
            found.append(Tool(type=name, extra={name: said}))
    if not found:
        return [Tool(type="", extra={})]
    return [found[0], *[Tool(**_fields(tool), extra={**tool.extra, _BESIDE: UNSET}) for tool in found[1:]]]


def _fields(tool: Tool) -> dict[str, Any]:
    return {name: getattr(tool, name) for name in ("name", "description", "parameters", "strict", "type")}


def _read_function(value: Json, at: str) -> Tool:
    source = camel(obj(value, at))
    extra = rest(source, _DECLARATION, exact=frozenset({"name"}))
    whole, given = source.get("parametersJsonSchema"), source.get("parameters")
    if whole is not None and given is not None:
        extra["parameters"] = given
    schema = given if whole is None else whole
    if schema and whole is None:
        made = standard(schema)
        extra["parameters" if made != schema else "parametersJsonSchema"] = schema if made != schema else UNSET
        schema = made
    return Tool(
        name=string(source.get("name"), f"{at}.name"),
        description=optional(source.get("description"), f"{at}.description") or None,
        parameters=schema or None,
        extra=extra,
    )


def read_choice(value: Json, extra: dict[str, Json]) -> ToolChoice | None:
    """The tool choice in `toolConfig`. Adds to `extra` what the hub cannot express."""
    if value is None:
        return None
    config = dict(camel(obj(value, "toolConfig")))
    calling = config.get("functionCallingConfig")
    choice = _choice(camel(calling)) if isinstance(calling, Mapping) else None
    if choice is not None:
        del config["functionCallingConfig"]
    if config or choice is None:
        extra["toolConfig"] = config
    return choice


_MODES: Final[Mapping[str, str]] = {"AUTO": "auto", "NONE": "none", "ANY": "required"}


def _choice(calling: Mapping[str, Json]) -> ToolChoice | None:
    mode, names = calling.get("mode"), calling.get("allowedFunctionNames")
    if not isinstance(mode, str) or mode not in _MODES:
        return None
    if mode == "ANY" and isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) and names[0]:
        return ToolChoice(mode="tool", name=names[0], extra=rest(calling, frozenset({"mode", "allowedFunctionNames"})))
    return ToolChoice(mode=cast("Any", _MODES[mode]), extra=rest(calling, frozenset({"mode"})))


# ---- writing -----------------------------------------------------------------------------------------------------------------------


def write_tools(tools: Sequence[Tool], model: str, *, foreign: bool) -> list[dict[str, Json]]:
    entries: list[dict[str, Json]] = []
    for index, tool in enumerate(tools):
        name, said = _written(tool, f"tools[{index}]", model, foreign=foreign)
        joins = bool(entries) and (name in entries[-1] if foreign else tool.extra.get(_BESIDE) is UNSET)
        entry = entries[-1] if joins else {}
        if not joins:
            entries.append(entry)
        if name == "functionDeclarations" and tool.type == "function":
            entry.setdefault(name, []).append(said)
        elif name:
            entry[name] = said
    return entries


def _written(tool: Tool, at: str, model: str, *, foreign: bool) -> tuple[str, Json]:
    """The tool's key in an entry, and its value."""
    if tool.type == "function":
        return "functionDeclarations", _function(tool, model, foreign=foreign)
    if not foreign:
        return tool.type, tool.extra.get(tool.type)
    given = camel({tool.type: {}})
    name = next(iter(given))
    said = camel(tool.extra).get(name)
    if name != "custom" and (name != tool.type or said is not None or name in _GOOGLES):
        return name, said or {}
    counterpart = said_in("gemini", tool)
    if counterpart is None:
        raise BadRequestError(f"{at}: Gemini has no tool of type {tool.type}: remove it, or use one of Google's, such as googleSearch")
    return counterpart.type, {}


_GOOGLES: Final = frozenset({
    "googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch", "fileSearch",
    "computerUse", "retrieval", "mcpServers",
})  # fmt: skip


def _function(tool: Tool, model: str, *, foreign: bool) -> dict[str, Json]:
    extra: Extra = {} if foreign else {name: value for name, value in tool.extra.items() if name != _BESIDE}
    said: dict[str, Json] = {"name": tool.name, "description": tool.description}
    if foreign and version(model) < (2, 0):
        said["parameters"] = reduced(tool.parameters) if tool.parameters else None
    elif extra.get("parametersJsonSchema") is UNSET:
        said["parameters"] = tool.parameters
    elif "parameters" not in extra:
        said["parametersJsonSchema"] = tool.parameters
    return merged({}, extra, said)


_WORDS: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}


def write_choice(choice: ToolChoice | None, given: Json, *, foreign: bool) -> Json:
    """`toolConfig` with the hub's tool choice."""
    config = dict(camel(given)) if isinstance(given, Mapping) else {}
    if choice is not None:
        said = {"mode": _WORDS[choice.mode], "allowedFunctionNames": [choice.name] if choice.mode == "tool" else None}
        config["functionCallingConfig"] = merged({}, {} if foreign else choice.extra, said)
    return config if config or given is not None else None
