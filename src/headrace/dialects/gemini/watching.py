"""Gemini's streams handed on as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.responses import block_reason, read_usage
from headrace.dialects.openai_chat.responses import write_usage
from headrace.dialects.watching import UNSOUND
from headrace.dialects.watching import Watcher as Watching
from headrace.types import Json
from headrace.wire import Frame


class _Candidate(Struct, gc=False):
    index: int = 0
    reason: Json = field(default=None, name="finishReason")
    also: None = field(default=None, name="finish_reason")


class _Glimpse(Struct, gc=False):
    """What is None here is looked at more closely where it is there."""

    candidates: tuple[_Candidate]
    usage: dict[str, Json] | None = field(default=None, name="usageMetadata")
    usage_also: None = field(default=None, name="usage_metadata")
    feedback: None = field(default=None, name="promptFeedback")
    feedback_also: None = field(default=None, name="prompt_feedback")
    error: None = None


_glimpse: Final = msgspec.json.Decoder(_Glimpse).decode


class Watcher(Watching, eq=False):
    """One answer, whole when every candidate that began has said why it ended, or the prompt was refused."""

    _counts: dict[str, Json] = field(default_factory=dict)
    _ended: dict[int, bool] = field(default_factory=dict)
    """The candidates that began, and whether they have ended."""
    _blocked: bool = False
    unread: bytes = b""
    """An event that was handed on unread, like one before but for its numbers."""

    def glance(self, data: bytes) -> bool:
        try:
            chunk = _glimpse(data)
        except UNSOUND:
            return False
        candidate = chunk.candidates[0]
        if candidate.reason is not None or candidate.index not in self._ended:
            self._ended[candidate.index] = candidate.reason is not None or self._ended.get(candidate.index, False)
        if chunk.usage:
            self._count(chunk.usage)
        return True

    def _count(self, usage: Mapping[str, Json]) -> None:
        """What was unread had counted the same as the events before it: it need not be read where all that is counted anew."""
        event, self.unread = self.unread, b""
        if event and not usage.keys() >= self._counts.keys():
            self.glance(event)
        self._counts |= usage

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        if event.get("error"):
            raise self._error(event)
        chunk = camel(event)
        usage: Any = chunk.get("usageMetadata")
        if isinstance(usage, Mapping):
            self._count(usage)
        self._blocked = self._blocked or block_reason(chunk) is not None
        for place, candidate in enumerate(chunk.get("candidates") or ()):
            candidate = camel(candidate)
            index = candidate.get("index", place)
            if not isinstance(index, int):
                raise TypeError("a candidate's index is no number")
            self._ended[index] = self._ended.get(index, False) or candidate.get("finishReason") is not None

    def _complete(self) -> bool:
        self._count({})
        whole = all(self._ended.values()) and bool(self._ended or self._blocked)
        if whole and self._counts:
            self.usage = used(self._counts)
        return whole


_COUNTS: Final = frozenset({
    "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount", "cachedContentTokenCount",
})  # fmt: skip


def used(counts: Mapping[str, Json]) -> dict[str, Any]:
    """Counts in OpenAI's form, as the hub's two halves write them: at once where they are plain numbers of tokens of text."""
    told: Any = counts.get
    prompt, answer, total = told("promptTokenCount"), told("candidatesTokenCount"), told("totalTokenCount")
    thoughts, cached = told("thoughtsTokenCount", 1), told("cachedContentTokenCount", 1)
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}
    for number in (prompt, answer, total, thoughts, cached):
        if type(number) is not int or not 0 < number < _MANY:
            return write_usage(read_usage(counts))
    for name, value in counts.items():
        if name not in _COUNTS:
            if name == "toolUsePromptTokenCount" or (type(value) is list and b"AUDIO" in msgspec.json.encode(value)):
                return write_usage(read_usage(counts))
            usage[name] = value
    if "cachedContentTokenCount" in counts:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if "thoughtsTokenCount" in counts:
        usage["completion_tokens"] = answer + thoughts
        usage["completion_tokens_details"] = {"reasoning_tokens": thoughts}
    return usage


_MANY: Final = 2**53
