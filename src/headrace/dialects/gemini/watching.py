"""Observes Gemini's streams that are forwarded unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.responses import block_reason, of_sound, read_usage
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
    """Fast path: the fields typed None here must be absent, else the chunk is fully parsed."""

    candidates: tuple[_Candidate]
    usage: dict[str, Json] | None = field(default=None, name="usageMetadata")
    usage_also: None = field(default=None, name="usage_metadata")
    feedback: None = field(default=None, name="promptFeedback")
    feedback_also: None = field(default=None, name="prompt_feedback")
    error: None = None


_glimpse: Final = msgspec.json.Decoder(_Glimpse).decode


class Watcher(Watching, eq=False):
    """Observes one response. It is complete when every candidate that began has a finish reason, or the prompt was blocked."""

    _counts: dict[str, Json] = field(default_factory=dict)
    _ended: dict[int, bool] = field(default_factory=dict)
    """The candidates that began, and whether each has finished."""
    _blocked: bool = False
    ending: bool = False
    """Whether a candidate has finished: few events follow."""
    unread: bytes = b""
    """An event that was forwarded without parsing because only its text and counts differ from an earlier one."""

    def glance(self, data: bytes) -> bool:
        try:
            chunk = _glimpse(data)
        except UNSOUND:
            return False
        candidate = chunk.candidates[0]
        if candidate.reason is not None:
            self._ended[candidate.index] = self.ending = True
        else:
            self._ended.setdefault(candidate.index, False)
        usage = chunk.usage
        if usage:
            if usage.keys() >= self._counts.keys():
                self._counts, self.unread = usage, b""
            else:
                self._count(usage)
        return True

    def _count(self, usage: dict[str, Json]) -> None:
        """Records the usage.

        An unread event had the same counts as the one before it, so it is only parsed if `usage` lacks some of them.
        """
        event, self.unread = self.unread, b""
        if usage.keys() >= self._counts.keys():
            self._counts = usage
            return
        if event:
            self.glance(event[event.find(b"{") :])
        self._counts = {**self._counts, **usage}

    def _look(self, event: Mapping[str, Json], frame: Frame) -> None:
        if event.get("error"):
            raise self._error(event)
        chunk = camel(event)
        usage: Any = chunk.get("usageMetadata")
        if isinstance(usage, Mapping):
            self._count(dict(usage))
        self._blocked = self._blocked or block_reason(chunk) is not None
        for place, candidate in enumerate(chunk.get("candidates") or ()):
            candidate = camel(candidate)
            index = candidate.get("index", place)
            if not isinstance(index, int):
                raise TypeError("a candidate's index is not a number")
            self._ended[index] = self._ended.get(index, False) or candidate.get("finishReason") is not None

    def _complete(self) -> bool:
        if self.unread:
            self._count({})
        if not all(self._ended.values()) or not (self._ended or self._blocked):
            return False
        if self._counts:
            self.usage = used(self._counts)
        return True


def used(counts: Mapping[str, Json]) -> dict[str, Any]:
    """Counts in OpenAI's format, equal to `write_usage(read_usage(counts))`; computed directly if they are plain text token counts."""
    usage: dict[str, Any] = dict(counts)
    take = usage.pop
    prompt, answer, total = take("promptTokenCount", 0), take("candidatesTokenCount", 0), take("totalTokenCount", 0)
    thoughts, cached = take("thoughtsTokenCount", 1), take("cachedContentTokenCount", 1)
    if (
        not type(prompt) is type(answer) is type(total) is type(thoughts) is type(cached) is int
        or not (prompt and answer and total and thoughts and cached and 0 < prompt | answer | total | thoughts | cached < _MANY)
        or "toolUsePromptTokenCount" in usage
        or ((details := usage.get("promptTokensDetails")) and of_sound(details))
        or ((details := usage.get("candidatesTokensDetails")) and of_sound(details))
    ):
        return write_usage(read_usage(counts))
    usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"] = prompt, answer, total
    if "thoughtsTokenCount" in counts:
        usage["completion_tokens"] = answer + thoughts
        usage["completion_tokens_details"] = {"reasoning_tokens": thoughts}
    if "cachedContentTokenCount" in counts:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return usage


_MANY: Final = 2**53
