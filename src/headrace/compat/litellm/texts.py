"""litellm's helpers: tokenizing, trimming messages, functions as tools, schema validation."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Final

import msgspec

from headrace.calls import response_format as as_json_schema
from headrace.compat.litellm.more_errors import JSONSchemaValidationError
from headrace.compat.litellm.theirs import theirs
from headrace.models.counting import PER_MESSAGE, encoding_of, token_counter
from headrace.models.info import find


class Encoding:
    """A vocabulary's tokenizer, by the program's own tiktoken. Counting (`token_counter`) does not need it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(theirs("tiktoken").get_encoding(self.name).encode(text, disallowed_special=()))

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return str(theirs("tiktoken").get_encoding(self.name).decode(list(tokens)))


encoding: Final = Encoding("cl100k_base")


def _tokenizer(model: str, custom: Any) -> Any:
    return custom["tokenizer"] if isinstance(custom, dict) else custom or Encoding(encoding_of(model))


def encode(model: str = "", text: str = "", custom_tokenizer: Any = None) -> list[int]:
    """The token ids of a text."""
    found = _tokenizer(model, custom_tokenizer).encode(text)
    return list(getattr(found, "ids", found))


def decode(model: str = "", tokens: Sequence[int] = (), custom_tokenizer: Any = None) -> str:
    """The text of token ids."""
    return str(_tokenizer(model, custom_tokenizer).decode(list(tokens)))


def create_pretrained_tokenizer(identifier: str, revision: str = "main", auth_token: str | None = None) -> dict[str, Any]:
    """A Hugging Face tokenizer for `custom_tokenizer`. Needs the package `tokenizers`, which downloads it."""
    made = theirs("tokenizers").Tokenizer.from_pretrained(identifier, revision=revision, token=auth_token)
    return {"type": "huggingface_tokenizer", "tokenizer": made}


def create_tokenizer(json: str) -> dict[str, Any]:
    return {"type": "huggingface_tokenizer", "tokenizer": theirs("tokenizers").Tokenizer.from_str(json)}


def trim_messages(
    messages: Sequence[Any],
    model: str | None = None,
    trim_ratio: float = 0.75,
    return_response_tokens: bool = False,
    max_tokens: int | None = None,
) -> Any:
    """System messages and the newest of the others, as many as fit into `max_tokens`, or into a share of the model's
    context window. The first that does not fit is cut in the middle. Trailing tool results stay complete.

    return_response_tokens: return (messages, tokens left) if anything was trimmed.
    """
    window = (find(model) or {}).get("max_input_tokens") if model and max_tokens is None else None
    most = max_tokens if max_tokens is not None else int(window * trim_ratio) if window else None
    if most is None or _tokens(model, messages) < most:
        return list(messages)
    said = [message for message in messages if message.get("role") != "system"]
    answers = [said.pop() for _ in takewhile(lambda message: message.get("role") == "tool", said[::-1])][::-1]
    first = [message for message in messages if message.get("role") == "system"]
    kept: list[Any] = []
    for message in reversed(said):
        fits = _shortened(message, most - _tokens(model, [*first, *kept, *answers]), model)
        if fits is not None:
            kept.insert(0, fits)
        if fits is not message:
            break
    trimmed = [*first, *(kept or said[-1:]), *answers]
    return (trimmed, most - _tokens(model, trimmed)) if return_response_tokens else trimmed


def _tokens(model: str | None, messages: Sequence[Any]) -> int:
    return token_counter(model or "", messages=messages)


LEAST: Final = 10
"""Minimum room, in tokens, for part of a message to be kept."""


def _shortened(message: Any, room: int, model: str | None) -> Any:
    """The message if it fits, else its beginning and end; None if there is no room."""
    content = message.get("content")
    alone = _tokens(model, [message]) - PER_MESSAGE
    if alone <= room:
        return message
    if room <= LEAST or not isinstance(content, str):
        return None
    kept = len(content)
    while alone > room and kept > 0:
        kept = int(kept * room / alone) - 1
        half = max(0, kept // 2)
        message = {**message, "content": f"{content[:half]}..{content[len(content) - half :]}"}
        alone = _tokens(model, [message]) - PER_MESSAGE
    return message


_JSON_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def function_to_dict(function: Callable[..., Any]) -> dict[str, Any]:
    """A tool description from a Python function's signature and docstring."""
    parameters = inspect.signature(function, eval_str=True).parameters
    properties = {name: {"type": _JSON_TYPES.get(parameter.annotation, "string")} for name, parameter in parameters.items()}
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    schema = {"type": "object", "properties": properties, "required": required}
    return {"name": function.__name__, "description": inspect.getdoc(function) or "", "parameters": schema}


def validate_schema(schema: Any, response: str) -> None:
    """Raises JSONSchemaValidationError if `response` is not JSON that matches the schema. Needs the package `jsonschema`."""
    checker = theirs("jsonschema")
    try:
        checker.validate(msgspec.json.decode(response), schema)
    except (msgspec.DecodeError, checker.ValidationError):
        raise JSONSchemaValidationError("", "", response, str(schema)) from None


def type_to_response_format_param(response_format: Any, ref_template: str | None = None) -> Any:
    """A pydantic class as OpenAI's strict JSON schema; any other value unchanged."""
    return as_json_schema(response_format)


def safe_deep_copy(data: Any) -> Any:
    """A deep copy, or a shallow one where that fails."""
    try:
        return copy.deepcopy(data)
    except Exception:  # locks, clients, streams
        return copy.copy(data)
