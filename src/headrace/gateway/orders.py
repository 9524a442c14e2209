"""What callers ordered and providers do later, batches and responses in the background: what has to be known of each to bill it then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from headrace.gateway.callers import Caller
from headrace.kept import BATCHES
from headrace.providers.catalog import resolve
from headrace.routing.plan import Deployment

FILES, MESSAGES, RESPONSE, INTERACTION = "files", "messages", "response", "interaction"
"""Kinds: a batch of a file of calls, whose answers are another file; Anthropic's, of messages; a response made in the background, and
what Google calls one.
"""
WORKING: Final = frozenset({"queued", "in_progress"})
"""Statuses in which what is made in the background does not stay."""
_ANTHROPICS: Final = "anthropic"
"""What batches of messages are called in the table of forms."""


class Order(Struct, frozen=True, kw_only=True):
    """One of them, and for whom it was made."""

    deployment: str
    id: str
    """The provider's own."""
    kind: str
    began: float
    """When it was ordered, in seconds since 1970."""
    key: str = ""
    name: str = ""
    team: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    customer: str = ""


def is_of_messages(deployment: Deployment) -> bool:
    """Whether its provider takes Anthropic's batches."""
    provider = resolve(deployment.model).provider
    return BATCHES.offer in provider.offered and provider.forms.get("batches") == _ANTHROPICS


def order_of(caller: Caller, deployment: Deployment | None, said: Mapping[str, Any]) -> Order | None:
    """said: what the provider answered to the order. None for what no batch is made of, or cannot be asked for later."""
    id = said.get("id")
    if deployment is None or not isinstance(id, str) or not id or BATCHES.offer not in resolve(deployment.model).provider.offered:
        return None
    kind = MESSAGES if is_of_messages(deployment) else FILES
    return Order(
        deployment=deployment.id, id=id, kind=kind, began=time.time(), key=caller.key, name=caller.name, team=caller.team,
        user=caller.user, tags=caller.tags,
    )  # fmt: skip
