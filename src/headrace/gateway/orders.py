"""Batches and background responses that callers ordered, with what is needed to bill them when they are done."""

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
"""Kinds of orders.

A batch whose input and output are files; a batch of Anthropic's messages; a background response; and Google's
equivalent, an interaction.
"""
WORKING: Final = frozenset({"queued", "in_progress"})
"""Statuses of a background response that is not finished."""
_ANTHROPICS: Final = "anthropic"
"""The value of `forms["batches"]` for providers of message batches."""


class Order(Struct, frozen=True, kw_only=True):
    """A batch or a background response, and for whom it was made."""

    deployment: str
    id: str
    """The provider's own id."""
    kind: str
    began: float
    """When it was ordered, in Unix seconds."""
    key: str = ""
    name: str = ""
    team: str = ""
    user: str = ""
    tags: tuple[str, ...] = ()
    customer: str = ""


def is_of_messages(deployment: Deployment) -> bool:
    """Whether its provider supports Anthropic's batches."""
    provider = resolve(deployment.model).provider
    return BATCHES.offer in provider.offered and provider.forms.get("batches") == _ANTHROPICS


def order_of(caller: Caller, deployment: Deployment | None, said: Mapping[str, Any]) -> Order | None:
    """The order of a batch; None if there is none, or if it cannot be polled. said: the provider's response to its creation."""
    id = said.get("id")
    if deployment is None or not isinstance(id, str) or not id or BATCHES.offer not in resolve(deployment.model).provider.offered:
        return None
    kind = MESSAGES if is_of_messages(deployment) else FILES
    return Order(
        deployment=deployment.id, id=id, kind=kind, began=time.time(), key=caller.key, name=caller.name, team=caller.team,
        user=caller.user, tags=caller.tags,
    )  # fmt: skip
