"""Who served a conversation last: its prefix is in that deployment's cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Affinity:
    """Deployments by what they have served, the latest `most`, each for `seconds`."""

    __slots__ = ("_served", "most", "seconds")

    def __init__(self, seconds: float = 3600.0, most: int = 100_000) -> None:
        self.seconds = seconds
        self.most = most
        self._served: OrderedDict[int, tuple[str, float]] = OrderedDict()

    def find(self, keys: Sequence[int], now: float) -> str | None:
        """Who served the first of `keys` that anybody has."""
        for key in keys:
            found = self._served.get(key)
            if found is not None and now - found[1] < self.seconds:
                return found[0]
        return None

    def remember(self, keys: Sequence[int], deployment: str, now: float) -> None:
        for key in keys:
            self._served[key] = (deployment, now)
            self._served.move_to_end(key)
        while len(self._served) > self.most:
            self._served.popitem(last=False)


def prefixes(group: str, messages: Sequence[Any]) -> list[int]:
    """A key for each beginning of a conversation, the longest first. What a model has read of it before, it need not read again."""
    keys, key = [], hash(group)
    for message in messages:
        key = hash((key, msgspec.json.encode(message, enc_hook=str)))
        keys.append(key)
    return keys[::-1]


def session_of(control: Mapping[str, Any]) -> str | None:
    """The session that a call names, in any of litellm's places."""
    metadata = control.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    found = control.get("session_id") or beside.get("session_id") or beside.get("litellm_session_id")
    return None if found is None else str(found)


def caller_of(control: Mapping[str, Any]) -> str | None:
    """Whose call it is: the key that litellm's proxy found, else the tenant."""
    metadata = control.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    found = beside.get("user_api_key_hash") or beside.get("user_api_key") or control.get("tenant")
    return None if found is None else str(found)


def session(group: str, name: str) -> list[int]:
    return [hash((group, "session", name))]
