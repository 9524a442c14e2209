"""Semantic cache index: finds similar questions by their embeddings. Needs the extra `semantic`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from headrace.calls import CHAT, EMBEDDINGS, Call, encode, prepare
from headrace.layers.around import Handler
from headrace.layers.keys import call_key
from headrace.ports import Ports

MOST_SHELVES: Final = 1000
"""Most shelves, which are groups of calls that differ only in their last question; the least recently used are dropped."""


class Asked(msgspec.Struct, frozen=True):
    """A call's last question, and the shelf of calls it is compared with."""

    shelf: str
    vector: Any
    """Normalized to length 1."""


class Index:
    """Vectors of questions, each with the cache key of its response. For any number of threads and event loops.

    Calls are compared if they differ only in the last user message: same model, parameters, tools and conversation
    before it. threshold: smallest cosine of two questions that count as the same.
    """

    def __init__(self, embedding_model: str, threshold: float, max_entries: int) -> None:
        self._model, self._threshold, self._most = embedding_model, threshold, max_entries
        self._shelves: OrderedDict[str, _Shelf] = OrderedDict()
        self._lock = threading.Lock()

    async def look(self, handler: Handler, ports: Ports, call: Call, name: str) -> Asked | None:
        """The call's question as a vector, embedded by the handler; None if the call is not a plain question.

        Raises HeadraceError if the embedding fails.
        """
        text = _question(call)
        if text is None or (shelf := _shelf_of(call, name)) is None:
            return None
        answer = await handler(ports, prepare(EMBEDDINGS, self._model, [text], False, {}))
        vector = np.asarray(answer.data[0]["embedding"], dtype=np.float32)
        length = float(np.linalg.norm(vector))
        return Asked(shelf, vector / length) if length else None

    def nearest(self, asked: Asked) -> tuple[str, float] | None:
        """Cache key and similarity of the most similar question, if it reaches the threshold; else None."""
        with self._lock:
            shelf = self._shelves.get(asked.shelf)
            return None if shelf is None else shelf.nearest(asked.vector, self._threshold)

    def remember(self, asked: Asked, key: str) -> None:
        with self._lock:
            shelf = self._shelves.setdefault(asked.shelf, _Shelf(self._most))
            self._shelves.move_to_end(asked.shelf)
            shelf.add(asked.vector, key)
            while len(self._shelves) > MOST_SHELVES:
                self._shelves.popitem(last=False)

    def __repr__(self) -> str:
        return f"<Index by {self._model!r}, from {self._threshold} on>"


class _Shelf:
    """Vectors in rows; the oldest is overwritten when there is no room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: Any = None
        self._keys: list[str] = []
        self._next = 0

    def nearest(self, vector: Any, threshold: float) -> tuple[str, float] | None:
        if self._rows is None or self._rows.shape[1] != len(vector):
            return None
        likeness = self._rows[: len(self._keys)] @ vector
        best = int(np.argmax(likeness))
        return (self._keys[best], float(likeness[best])) if likeness[best] >= threshold else None

    def add(self, vector: Any, key: str) -> None:
        if self._rows is None or self._rows.shape[1] != len(vector):  # the embedding model has changed
            self._rows, self._keys, self._next = np.empty((16, len(vector)), np.float32), [], 0
        if self._next == len(self._rows) < self._most:
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])[: self._most]
        at = self._next % len(self._rows)
        self._rows[at] = vector
        self._keys[at : at + 1] = [key]
        self._next = at + 1 if at + 1 < self._most else 0


def _question(call: Call) -> str | None:
    """The last user message, if it is a single text."""
    if call.operation is not CHAT or not call.prompt:
        return None
    last = call.prompt[-1]
    role, content = (last.get("role"), last.get("content")) if isinstance(last, Mapping) else (None, None)
    if isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text":
        content = content[0].get("text")
    return content if role == "user" and isinstance(content, str) and content.strip() else None


def _shelf_of(call: Call, name: str) -> str | None:
    before = msgspec.Raw(encode(list(call.prompt[:-1])))
    return call_key(msgspec.structs.replace(call, body={**call.body, call.operation.prompt: before}), name)
