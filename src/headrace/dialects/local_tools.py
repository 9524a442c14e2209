"""Tools that the caller runs, of types that only its own dialect has, presented to other dialects as functions.

OpenAI's take free-form text, belong to namespaces, search for tools, run commands or edit files. Anthropic's have
schemas built into the model. `local_calls` turns the resulting calls back into the caller's dialect.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headrace.dialects.fields import OWN, json_text
from headrace.dialects.own_tools import undated
from headrace.types import ChatRequest, Json, Message, Other, Part, Text, Tool, ToolCall, ToolChoice, ToolResult

BARE: Final = "input"
"""The function parameter that holds the free-form text of a custom tool."""

_LONGEST: Final = 64
"""Maximum length of a function name in characters, for OpenAI and Google."""


class Form(Struct, frozen=True):
    """The caller's tool behind a function."""

    kind: Literal["function", "custom", "item"]
    """A function or a custom tool (free-form text), possibly in a namespace; or a tool whose calls are items of their own type."""
    name: str
    namespace: str = ""


NO_FORMS: Final[Mapping[str, Form]] = {}


class _Item(Struct, frozen=True):
    """A Responses tool whose calls and results are items of their own types."""

    call: str
    output: str
    field: str
    """The field of a call that holds its arguments."""
    description: str
    properties: Mapping[str, Json]
    required: tuple[str, ...]
    beside: Mapping[str, Json] = {}
    """Defaults in that field, which the model is not asked for."""


_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer"}
_TEXTS: Final = {"type": "array", "items": _TEXT}

# From the types of the official client (openai 3.57), read 2026-11.
ITEMS: Final[Mapping[str, _Item]] = {
    "shell": _Item(
        "shell_call", "shell_call_output", "action", "Runs commands in a shell.",
        {"commands": _TEXTS, "timeout_ms": _NUMBER, "max_output_length": _NUMBER}, ("commands",),
        {"timeout_ms": None, "max_output_length": None},
    ),
    "local_shell": _Item(
        "local_shell_call", "local_shell_call_output", "action", "Runs a command, given as a list of arguments.",
        {"command": _TEXTS, "env": {"type": "object", "additionalProperties": _TEXT}, "timeout_ms": _NUMBER, "working_directory": _TEXT},
        ("command",), {"type": "exec", "env": {}},
    ),
    "apply_patch": _Item(
        "apply_patch_call", "apply_patch_call_output", "operation",
        "Creates, changes or deletes a file. The diff is in V4A format, and empty to delete.",
        {"type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]}, "path": _TEXT, "diff": _TEXT},
        ("type", "path", "diff"),
    ),
    "tool_search": _Item(
        "tool_search_call", "tool_search_output", "arguments", "Finds tools that are not listed yet.", {"query": _TEXT}, ("query",)
    ),
}  # fmt: skip

# docs.claude.com/en/docs/agents-and-tools/tool-use, read 2026-11
_ANTHROPICS: Final[Mapping[str, tuple[str, Mapping[str, Json], tuple[str, ...]]]] = {
    "bash": ("Runs a command in a shell that persists between calls. restart: starts a new shell.",
        {"command": _TEXT, "restart": {"type": "boolean"}}, ()),
    "text_editor": ("Views, creates and edits files. view_range: first and last line.", {
        "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]}, "path": _TEXT, "file_text": _TEXT,
        "old_str": _TEXT, "new_str": _TEXT, "insert_line": _NUMBER, "insert_text": _TEXT, "view_range": {"type": "array", "items": _NUMBER},
    }, ("command", "path")),
    "memory": ("Keeps notes across conversations, in files below /memories. Check it before doing anything else.", {
        "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert", "delete", "rename"]}, "path": _TEXT,
        "view_range": {"type": "array", "items": _NUMBER}, "file_text": _TEXT, "old_str": _TEXT, "new_str": _TEXT, "insert_line": _NUMBER,
        "insert_text": _TEXT, "old_path": _TEXT, "new_path": _TEXT,
    }, ("command",)),
    "computer": ("Views and controls the screen.", {
        "action": {"type": "string", "enum": [
            "screenshot", "left_click", "right_click", "middle_click", "double_click", "triple_click", "mouse_move", "left_click_drag",
            "left_mouse_down", "left_mouse_up", "scroll", "type", "key", "hold_key", "wait", "cursor_position", "zoom",
        ]},
        "coordinate": {"type": "array", "items": _NUMBER}, "start_coordinate": {"type": "array", "items": _NUMBER}, "text": _TEXT,
        "scroll_direction": {"type": "string", "enum": ["up", "down", "left", "right"]}, "scroll_amount": _NUMBER,
        "duration": {"type": "number"}, "region": {"type": "array", "items": _NUMBER},
    }, ("action",)),
}  # fmt: skip

_OUTPUTS: Final = frozenset(item.output for item in ITEMS.values())
_CALLS: Final[Mapping[str, str]] = {item.call: name for name, item in ITEMS.items()}


def takes_bare(dialect: str, provider: str) -> bool:
    """Whether the provider has custom tools (free-form text). Other Chat Completions providers reject the type."""
    return dialect == "openai_responses" or (dialect == "openai_chat" and provider in ("openai", "azure"))


def as_functions(request: ChatRequest, source: str, *, bare: bool) -> tuple[ChatRequest, Mapping[str, Form]]:
    """`request` with functions substituted for such tools, and the caller's tools by function name.

    source: the caller's dialect. bare: whether the provider has custom tools.
    """
    if all(tool.type == "function" for tool in request.tools) and not any(_speaks_of_one(message) for message in request.messages):
        return request, NO_FORMS
    made = _Functions(source, bare)
    tools = [function for tool in (*request.tools, *_found(request)) for function in made.of(tool)]
    messages = [told for message in request.messages for told in made.turns(message)]
    choice, extra = request.tool_choice, request.extra
    if choice is None and (name := made.chosen(extra.get("tool_choice"))):
        choice, extra = ToolChoice(mode="tool", name=name), {field: value for field, value in extra.items() if field != "tool_choice"}
    return replace(request, tools=tuple(tools), messages=tuple(messages), tool_choice=choice, extra=extra), made.forms


def _speaks_of_one(message: Message) -> bool:
    return any(isinstance(part, Other) or (isinstance(part, ToolCall) and _is_special(part)) for part in message.content)


def _is_special(call: ToolCall) -> bool:
    return call.kind == "custom" or bool(_namespace(call))


def _namespace(call: ToolCall) -> str:
    kept = call.extra.get(OWN)
    name = kept.get("namespace") if isinstance(kept, Mapping) else None
    return name if isinstance(name, str) else ""


def _found(request: ChatRequest) -> Iterator[Tool]:
    """Tools that are declared later in the conversation or found by a tool search."""
    for part in (part for message in request.messages for part in message.content if isinstance(part, Other)):
        told = part.extra.get("tools") if part.type in ("tool_search_output", "additional_tools") else None
        for tool in told if isinstance(told, list) else ():
            if isinstance(tool, Mapping) and tool.get("type") in ("namespace", "custom", "function"):
                yield _read(tool)


def _read(tool: Mapping[str, Json]) -> Tool:
    if tool.get("type") != "function":
        return Tool(type=str(tool.get("type")), extra={name: value for name, value in tool.items() if name != "type"})
    parameters, strict = tool.get("parameters") or None, tool.get("strict")
    return Tool(
        name=_text(tool, "name"),
        description=_text(tool, "description") or None,
        parameters=parameters,
        strict=strict if isinstance(strict, bool) else None,
    )


def _text(source: Mapping[str, Json], name: str) -> str:
    value = source.get(name)
    return value if isinstance(value, str) else ""


class _Functions:
    """The functions made so far, and the caller's tools they stand for."""

    def __init__(self, source: str, bare: bool) -> None:
        self._source = source
        self._bare = bare
        self._seen: set[str] = set()
        self.forms: dict[str, Form] = {}

    def of(self, tool: Tool) -> Iterator[Tool]:
        """The functions for a tool: the tool itself if it needs none, nothing if it was already declared."""
        if tool.type == "function":
            if tool.name not in self._seen:
                self._seen.add(tool.name)
                yield tool
        elif tool.type == "custom" and not self._bare:
            inner = tool.extra.get("custom")  # nested in Chat Completions, flat in Responses
            yield from self._custom(inner if isinstance(inner, Mapping) else tool.extra)
        elif self._source == "openai_responses" and tool.type == "namespace":
            yield from self._namespace(tool.extra)
        elif self._source == "openai_responses" and tool.type in ITEMS and _is_callers(tool):
            yield self._stands(Form("item", tool.type), _item(tool))
        elif self._source == "anthropic_messages" and (known := _ANTHROPICS.get(undated(tool.type))) is not None:
            yield _anthropics(tool, *known)
        else:
            yield tool

    def _custom(self, said: Mapping[str, Json], namespace: str = "") -> Iterator[Tool]:
        name = _text(said, "name")
        if flat(namespace, name) not in self._seen:
            description = "\n\n".join(filter(None, (_text(said, "description"), _grammar(said.get("format")))))
            tool = Tool(description=description or None, parameters=_object({BARE: _TEXT}, (BARE,)))
            yield self._stands(Form("custom", name, namespace), tool)

    def _namespace(self, said: Mapping[str, Json]) -> Iterator[Tool]:
        namespace, inner = _text(said, "name"), said.get("tools")
        for one in inner if isinstance(inner, list) else ():
            match one:
                case {"type": "function", "name": str()}:
                    tool = _read(one)
                    if flat(namespace, tool.name) not in self._seen:
                        yield self._stands(Form("function", tool.name, namespace), tool)
                case {"type": "custom", "name": str()}:
                    yield from self._custom(one, namespace)

    def _stands(self, form: Form, tool: Tool) -> Tool:
        name = flat(form.namespace, form.name)
        self._seen.add(name)
        self.forms[name] = form
        return replace(tool, name=name)

    def chosen(self, choice: Json) -> str:
        """The function for a tool that `tool_choice` forces; "" for any other choice."""
        match choice:
            case {"type": "custom", "custom": {"name": str(name)}} | {"type": "custom", "name": str(name)} if name in self.forms:
                return name
            case {"type": str(kind)} if kind in ITEMS and kind in self.forms:
                return kind
        return ""

    def turns(self, message: Message) -> Iterator[Message]:
        """The message with calls renamed to their functions, and results among the assistant's parts split into tool messages."""
        if not _speaks_of_one(message):
            yield message
            return
        said: list[Part] = []
        for part in message.content:
            if isinstance(part, Other) and part.type in _OUTPUTS and self._is_known(part):
                if said:
                    yield replace(message, content=tuple(said))
                yield Message(role="tool", content=(_result(part),))
                said = []
            else:
                said.append(self._part(part))
        if said or not message.content:
            yield replace(message, content=tuple(said))

    def _part(self, part: Part) -> Part:
        if isinstance(part, ToolCall) and part.kind == "custom" and not self._bare:
            part = replace(part, arguments=json_text({BARE: part.arguments}), kind="function")
        if isinstance(part, ToolCall) and (namespace := _namespace(part)):
            return replace(part, name=flat(namespace, part.name), extra={})
        if isinstance(part, Other) and part.type in _CALLS and self._is_known(part):
            name = _CALLS[part.type]
            return ToolCall(id=_call_id(part), name=name, arguments=json_text(part.extra.get(ITEMS[name].field) or {}))
        return part

    def _is_known(self, item: Other) -> bool:
        """Whether the caller ran it: tool searches may have been the provider's."""
        return not item.type.startswith("tool_search") or item.extra.get("execution") == "client"


def _item(tool: Tool) -> Tool:
    item = ITEMS[tool.type]
    description = _text(tool.extra, "description") or item.description
    return Tool(description=description, parameters=tool.extra.get("parameters") or _object(item.properties, item.required))


def _anthropics(tool: Tool, description: str, properties: Mapping[str, Json], required: tuple[str, ...]) -> Tool:
    match tool.extra:
        case {"display_width_px": width, "display_height_px": height}:
            description += f" It has {width} by {height} pixels."
    return Tool(name=_text(tool.extra, "name"), description=description, parameters=_object(properties, required))


def _is_callers(tool: Tool) -> bool:
    """Whether the caller runs it: OpenAI hosts some of these tools too."""
    where = tool.extra.get("environment")
    kind = where.get("type") if isinstance(where, Mapping) else "local"
    return tool.extra.get("execution") == "client" if tool.type == "tool_search" else kind == "local"


def flat(namespace: str, name: str) -> str:
    """A namespaced name as a single function name, shortened to `_LONGEST`."""
    whole = f"{namespace}__{name}" if namespace else name
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 9]}_{zlib.crc32(whole.encode()):08x}"


def _object(properties: Mapping[str, Json], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _grammar(format_: Json) -> str:
    """The required format of a custom tool's text, as a hint for models that do not enforce it."""
    match format_:
        case {"type": "grammar", "syntax": str(syntax), "definition": str(definition)}:
            return f"The text must follow this grammar ({syntax}):\n{definition}"
    return ""


def _call_id(item: Other) -> str:
    return _text(item.extra, "call_id") or _text(item.extra, "id")


def _result(item: Other) -> ToolResult:
    if item.type == "tool_search_output":
        tools = item.extra.get("tools")
        output: Json = {"found": list(_names(tools if isinstance(tools, list) else []))}
    else:
        output = item.extra.get("output")
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    return ToolResult(call_id=_call_id(item), content=(Text(text=text),), is_error=item.extra.get("status") == "failed")


def _names(tools: list[Json], namespace: str = "") -> Iterator[str]:
    for tool in tools:
        match tool:
            case {"type": "namespace", "name": str(name), "tools": list(inner)}:
                yield from _names(inner, name)
            case {"name": str(name)}:
                yield flat(namespace, name)
