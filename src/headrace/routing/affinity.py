"""Remembers which deployment last served a conversation, because that deployment has its prefix cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Affinity:
    """Maps keys of conversations to the deployment that served them: the latest `most` entries, each for `seconds`."""

    __slots__ = ("_served", "most", "seconds")

    def __init__(self, seconds: float = 3600.0, most: int = 100_000) -> None:
        self.seconds = seconds
        self.most = most
        self._served: OrderedDict[int, tuple[str, float]] = OrderedDict()

    def find(self, keys: Sequence[int], now: float) -> str | None:
        """The deployment remembered for the first of `keys` that has one; None if none has."""
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
    """A key for each prefix of a conversation, the longest first.

    A deployment that has cached a prefix need not process it again.
    """
    keys, key = [], hash(group)
    for message in messages:
        key = hash((key, msgspec.json.encode(message, enc_hook=str)))
        keys.append(key)
    return keys[::-1]


def session_of(control: Mapping[str, Any]) -> str | None:
    """The session id of a call, from any of the places where litellm accepts one."""
    metadata = control.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    found = control.get("session_id") or beside.get("session_id") or beside.get("litellm_session_id")
    return None if found is None else str(found)


def caller_of(control: Mapping[str, Any]) -> str | None:
    """The caller's identity: the key that litellm's proxy put into the metadata, else the tenant."""
    metadata = control.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    found = beside.get("user_api_key_hash") or beside.get("user_api_key") or control.get("tenant")
    return None if found is None else str(found)


def session(group: str, name: str) -> list[int]:
    return [hash((group, "session", name))]
