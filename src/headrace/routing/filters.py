"""Which deployments of a group may serve a call at all: by tags, team, region and the size of its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from headrace.errors import BadRequestError, ContextWindowExceededError
from headrace.models.info import find
from headrace.routing.plan import Deployment


class Wants(Struct, frozen=True):
    """What a call asks of whoever serves it."""

    tags: frozenset[str] = frozenset()
    team: str | None = None
    region: str | None = None
    """litellm's `allowed_model_region`: what a region's name begins with."""
    tokens: int = 0
    """Of its prompt, as estimated."""


def wants_of(control: Mapping[str, Any], tokens: int) -> Wants:
    """From a call's options, and from its metadata as litellm's proxy fills it in."""
    metadata = control.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    tags = control.get("tags") or beside.get("tags") or ()
    if not isinstance(tags, Sequence) or isinstance(tags, str):
        raise BadRequestError("tags must be a list of texts")
    return Wants(frozenset(map(str, tags)), beside.get("user_api_key_team_id"), control.get("allowed_model_region"), tokens)


def fitting(members: Sequence[Deployment], wants: Wants, *, by_tags: bool, any_tag: bool, window: bool) -> Sequence[Deployment]:
    """Deployments that may serve the call. Raises BadRequestError that says why none may; ContextWindowExceededError for a prompt that no
    window holds."""
    found = [member for member in members if _team(member, wants) and _region(member, wants)]
    found = _tagged(found, wants, any_tag) if by_tags else found
    if not found:
        raise BadRequestError(f"no deployment of {members[0].group!r} is for {_said(wants)}")
    return _large_enough(found, wants.tokens) if window else found


def _tagged(members: Sequence[Deployment], wants: Wants, any_tag: bool) -> list[Deployment]:
    """Those with the call's tags, else those for everybody: tagged "default", or, for a call without tags, not at all."""

    def matches(tags: frozenset[str]) -> bool:
        return bool(wants.tags & tags) if any_tag else wants.tags <= tags

    found = [member for member in members if wants.tags and matches(member.tags)]
    found = found or [member for member in members if "default" in member.tags]
    return found or [member for member in members if not wants.tags and not member.tags]


def _large_enough(members: Sequence[Deployment], tokens: int) -> list[Deployment]:
    windows = {member.id: member.window or known_window(member.model) for member in members}
    found = [member for member in members if tokens <= (windows[member.id] or tokens)]
    if not found:
        most = max(window for window in windows.values() if window)
        raise ContextWindowExceededError(f"{members[0].group!r}: the prompt has about {tokens} tokens, and its largest window {most}")
    return found


@lru_cache(maxsize=1024)
def known_window(model: str) -> int | None:
    """Tokens of the largest prompt that the catalogue knows of."""
    facts = find(model)
    window = None if facts is None else facts.get("max_input_tokens")
    return window if isinstance(window, int) else None


def can_continue(deployment: Deployment) -> bool:
    """Whether it goes on from an answer that was begun: as its configuration says, else as the catalogue knows of its model."""
    info = deployment.given.get("model_info") or {}
    said = info.get("supports_assistant_prefill")
    if said is None:
        facts = find(info.get("base_model") or deployment.model)
        said = facts is not None and facts.get("supports_assistant_prefill")
    return bool(said)


def _team(deployment: Deployment, wants: Wants) -> bool:
    return deployment.team is None or deployment.team == wants.team


def _region(deployment: Deployment, wants: Wants) -> bool:
    return wants.region is None or (deployment.region or "").startswith(wants.region)


def _said(wants: Wants) -> str:
    said = [f"tags {', '.join(sorted(wants.tags))}" if wants.tags else "calls without tags"]
    said += [f"team {wants.team}"] if wants.team else []
    said += [f"region {wants.region}"] if wants.region else []
    return ", ".join(said)
