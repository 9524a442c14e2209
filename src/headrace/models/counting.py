"""Token counting with a model's own tokenizer if the extra `tokens` is installed, else by estimate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from headrace.errors import BadRequestError
from headrace.models.tokens import IMAGE_TOKENS, estimate

ENCODINGS: Final[tuple[tuple[str, str], ...]] = (
    (r"gpt-oss", "o200k_harmony"),
    (r"(chatgpt-4o|gpt-(4o|4\.1|4\.5|[5-9])|o[1-9](-|$)|codex)", "o200k_base"),
    (r"(gpt-4|gpt-3\.5|text-embedding-(3|ada))", "cl100k_base"),
    (r"qwen", "qwen3.5"),
)
"""Encodings by prefix of the model's own name (from the encodings' documentation, toktok-rs 0.3.0). Others use the
newest one."""

PER_MESSAGE: Final = 3
"""Tokens around each message, and once more before the response: OpenAI's cookbook, "How to count tokens with tiktoken"
(read 2026-11)."""

_MEDIA: Final = frozenset({"image_url", "input_image", "image", "input_audio", "file", "document"})

Counter: TypeAlias = Callable[[Sequence[str]], int]
"""Counts the tokens of several texts together."""


def token_counter(
    model: str = "",
    custom_tokenizer: Any = None,
    text: str | Sequence[str] | None = None,
    messages: Sequence[Any] | None = None,
    count_response_tokens: bool | None = False,
    tools: Sequence[Any] | None = None,
    tool_choice: Any = None,
    **_: Any,
) -> int:
    """Tokens of `text`, or of `messages` with the overhead of a chat, and of `tools`.

    Images and files count with a fixed estimate each.

    custom_tokenizer: an object with `encode(text)`, or litellm's `{"tokenizer": …}` around one. count_response_tokens:
    `text` is a response, so nothing is added. Raises BadRequestError without `text` and `messages`.
    """
    if text is None and messages is None:
        raise BadRequestError("token_counter needs text= or messages=", model)
    count = _counter(model, custom_tokenizer)
    if text is not None:
        return count([text] if isinstance(text, str) else [str(piece) for piece in text])
    return _of_chat(count, messages or (), tools, tool_choice)


def _of_chat(count: Counter, messages: Sequence[Any], tools: Any, tool_choice: Any) -> int:
    plain = [message if isinstance(message, Mapping) else message.model_dump() for message in messages]
    extras = [msgspec.json.encode(extra).decode() for extra in (tools, tool_choice) if extra]
    media = sum(1 for message in plain for part in _parts(message) if part.get("type") in _MEDIA)
    texts = [piece for message in plain for piece in _texts(message)]
    return count([*texts, *extras]) + PER_MESSAGE * (len(plain) + 1) + media * IMAGE_TOKENS


def _parts(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, Sequence) and not isinstance(content, str):
        yield from (part for part in content if isinstance(part, Mapping))


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    yield from (value for value in (message.get("role"), message.get("name"), content) if isinstance(value, str))
    for part in _parts(message):
        if part.get("type") not in _MEDIA:
            yield from (value for name, value in part.items() if name != "type" and isinstance(value, str))
    for call in [*(message.get("tool_calls") or ()), {"function": message.get("function_call")}]:
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield from (value for value in (function.get("name"), function.get("arguments")) if isinstance(value, str))


def _counter(model: str, custom: Any) -> Counter:
    if custom is not None:
        tokenizer: Any = custom["tokenizer"] if isinstance(custom, Mapping) else custom
        return lambda texts: sum([len(_ids(tokenizer.encode(piece))) for piece in texts])
    try:
        import toktok  # type: ignore[import-untyped]  # late: an optional package with its vocabularies inside
    except ImportError:
        return lambda texts: sum([estimate(piece) for piece in texts])
    encoding = encoding_of(model)
    return lambda texts: sum(toktok.batch_count(texts, encoding, threads=1))


def _ids(encoded: Any) -> Sequence[int]:
    """Token ids, as returned by tiktoken or by Hugging Face's tokenizers."""
    ids: Sequence[int] = getattr(encoded, "ids", encoded)
    return ids


def encoding_of(model: str) -> str:
    """The name of a model's encoding, from its own name with or without a provider's prefix."""
    name = model.rpartition("/")[2].lower().removeprefix("ft:")
    return next((encoding for begins, encoding in ENCODINGS if re.match(begins, name)), "o200k_base")
