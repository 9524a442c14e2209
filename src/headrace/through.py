"""Pass-through requests in a provider's native format, sent with its credentials. Usage is read from the response on the way."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from headrace.calls import Operation
from headrace.destinations import Destination
from headrace.dialects import load
from headrace.dialects.base import Dialect, Target
from headrace.objects import JsonObject
from headrace.wire import HeaderPairs, HttpRequest, HttpResponse, Upload

PASSED: Final = Operation("passed", "", JsonObject, None, named=False)
"""A call whose option `request` is a `ThroughRequest`; its stream is the response's raw bytes."""


class ThroughRequest(Struct, frozen=True):
    """The request to forward. `headers` must hold no credentials: the deployment's are added."""

    method: str
    path: str
    """Relative to the provider's host, with query: `/v1/messages?beta=true`."""
    headers: HeaderPairs = ()
    body: bytes = b""
    upload: Upload | None = None
    """A body too large to hold in memory, in place of `body`."""
    pays: bool = True
    """Whether usage in the response is charged. A stored response repeats its usage each time it is retrieved."""

    def __repr__(self) -> str:
        size = len(self.body) if self.upload is None else self.upload.size
        return f"<ThroughRequest {self.method} {self.path.partition('?')[0]} {size} bytes>"


class Through(Struct, eq=False):
    """A `ThroughRequest` at a destination."""

    to: Destination
    request: ThroughRequest
    operation: str = PASSED.name
    left_out: tuple[str, ...] | None = None

    @property
    def target(self) -> Target:
        return Target(self.to.provider.name, self.to.model, self.to.base_url, self.to.headers)

    @property
    def dialect(self) -> Dialect:
        return load(self.to.provider.dialect)

    def write(self) -> HttpRequest:
        asked, own = self.request, dict(self.to.headers)
        kind = {name: value for name, value in asked.headers if name == "content-type"}
        kept = [(name, value) for name, value in asked.headers if name not in own]
        headers = (*kept, *({**own, **kind} if kind else {name: value for name, value in own.items() if name != "content-type"}).items())
        return HttpRequest(asked.method, address_of(self.to.base_url, asked.path), headers, asked.body, asked.upload)

    def read(self, response: HttpResponse) -> dict[str, Any]:
        """A complete response's JSON object; empty if it has none."""
        return dict(next(_answers(response.body, events=False), {}))

    def used(self, body: Mapping[str, Any]) -> Any:
        return _in_common(_usage(body)) if self.request.pays else NOTHING

    def source(self, kind: str) -> Watched:
        return Watched(events=kind.startswith("text/event-stream"), pays=self.request.pays)


def address_of(base_url: str, path: str) -> str:
    """The URL of a path at a provider. A path that repeats the base URL's path, or has its own version, is joined to the host alone."""
    base = urlsplit(base_url)
    begins = base.path.rstrip("/")
    if path.startswith("/upload/"):  # Google puts its version after that
        return f"{base.scheme}://{base.netloc}{_VERSION.sub('', begins)}{path}"
    whole = not begins or path.startswith(f"{begins}/") or re.match(r"/v\d", path) is not None
    return f"{base.scheme}://{base.netloc}{path if whole else begins + path}"


_VERSION: Final = re.compile(r"/v\d\w*$")


# ---- usage -------------------------------------------------------------------------------------------------------------------------

MOST_KEPT: Final = 4 << 20
"""Bytes of a response searched for usage; of a longer stream, the last ones."""


NOTHING: Final[Mapping[str, int]] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class Watched:
    """Bytes passed through as they arrive. At the end, `usage` holds the usage found in them, in OpenAI's format."""

    __slots__ = ("_events", "_pays", "_seen", "count", "usage")

    def __init__(self, *, events: bool, pays: bool = True) -> None:
        self._events = events
        self._pays = pays
        self._seen = bytearray()
        self.count = 0
        self.usage: dict[str, Any] | None = None if pays else dict(NOTHING)

    def feed(self, data: bytes, ready: deque[Any]) -> None:
        ready.append(data)
        if not self._pays:
            return
        self._seen += data
        if len(self._seen) > 2 * MOST_KEPT:
            del self._seen[:-MOST_KEPT]

    def close(self, ready: deque[Any]) -> None:
        if not self._pays:
            return
        found: dict[str, Any] = {}
        for answer in _answers(bytes(self._seen), events=self._events):
            found |= {name: value for name, value in _usage(answer).items() if value is not None}
        self.usage = _in_common(found)


def _answers(seen: bytes, *, events: bool) -> Iterator[Mapping[str, Any]]:
    """The JSON objects that may contain usage: the response, or events of a stream."""
    texts = [line[5:] for line in seen.splitlines() if line.startswith(b"data:") and b"sage" in line] if events else [seen]
    for text in texts:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        yield from [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping)]


def _usage(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("usage", "usageMetadata", "meta"):
        if isinstance(found := answer.get(name), Mapping):
            return found
    for name in ("message", "response", "interaction", "metadata"):  # Anthropic's first event, Responses' last, Google's last and others
        if isinstance(inner := answer.get(name), Mapping):
            return _usage(inner)
    return {}


_INPUT: Final = ("prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens", "total_input_tokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens", "total_output_tokens")
_CACHED: Final = ("cache_read_input_tokens", "cachedContentTokenCount", "total_cached_tokens")
_BESIDE_INPUT: Final = ("cache_read_input_tokens", "cache_creation_input_tokens", "toolUsePromptTokenCount", "total_tool_use_tokens")
"""Tokens that Anthropic and Google do not include in the input count."""
_BESIDE_OUTPUT: Final = ("thoughtsTokenCount", "total_thought_tokens")


def _in_common(found: Mapping[str, Any]) -> dict[str, Any] | None:
    input, output = _first(found, _INPUT), _first(found, _OUTPUT)
    if input is None and output is None:
        return None
    details = found.get("prompt_tokens_details") or found.get("input_tokens_details") or {}
    cached = _first(found, _CACHED) or details.get("cached_tokens") or 0
    whole = (input or 0) + sum(found.get(name) or 0 for name in _BESIDE_INPUT)
    written = (output or 0) + sum(found.get(name) or 0 for name in _BESIDE_OUTPUT)
    told = {"prompt_tokens": whole, "completion_tokens": written, "total_tokens": whole + written}
    return {**told, "prompt_tokens_details": {"cached_tokens": cached}} if cached else told


def _first(found: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return next((value for name in names if isinstance(value := found.get(name), int)), None)
