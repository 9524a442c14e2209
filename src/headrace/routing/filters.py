"""Which deployments of a group may serve a call at all: by tags, team, region and prompt size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from headrace.errors import BadRequestError, ContextWindowExceededError
from headrace.models.info import find
from headrace.routing.plan import Deployment


class Wants(Struct, frozen=True):
    """What a call requires of its deployment."""

    tags: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    """Tags that the deployment must have (`&tag`)."""
    unwanted: frozenset[str] = frozenset()
    """Tags that it must not have (`!tag`)."""
    agent: str = ""
    """`User-Agent: …` of the caller, if the metadata contain it."""
    team: str | None = None
    region: str | None = None
    """litellm's `allowed_model_region`: the prefix of a region's name."""
    tokens: int = 0
    """Estimated tokens of the prompt."""


def wants_of(control: Mapping[str, Any], tokens: int, prefix: str = "") -> Wants:
    """Read a call's options, and its metadata as litellm's proxy fills them in.

    prefix: removed from tags that begin with it.
    """
    metadata = control.get("metadata")
    beside: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    tags = control.get("tags") or beside.get("tags") or ()
    if not isinstance(tags, Sequence) or isinstance(tags, str):
        raise BadRequestError("tags must be a list of strings")
    named = [str(tag).removeprefix(prefix) for tag in tags]
    return Wants(
        frozenset([tag for tag in named if not tag.startswith(("&", "!"))]),
        _marked(named, "&"),
        _marked(named, "!"),
        f"User-Agent: {beside['user_agent']}" if beside.get("user_agent") else "",
        team_of(control),
        control.get("allowed_model_region"),
        tokens,
    )


def team_of(control: Mapping[str, Any]) -> str | None:
    """The team that a call belongs to.

    What a gateway has verified (`litellm_metadata`) takes precedence over what the caller claims.
    """
    told = control.get("litellm_metadata") or control.get("metadata")
    return told.get("user_api_key_team_id") if isinstance(told, Mapping) else None


def _marked(tags: Sequence[str], mark: str) -> frozenset[str]:
    return frozenset([tag[1:] for tag in tags if tag.startswith(mark) and len(tag) > 1])


def fitting(members: Sequence[Deployment], wants: Wants, *, by_tags: bool, any_tag: bool, window: bool) -> Sequence[Deployment]:
    """Deployments that may serve the call.

    Raises BadRequestError that says why none may, and ContextWindowExceededError for a prompt larger than every context
    window.
    """
    found = [member for member in members if not member.blocked and _team(member, wants) and _region(member, wants)]
    found = _tagged(found, wants, any_tag) if by_tags else found
    if not found:
        raise BadRequestError(f"no deployment of {members[0].group!r} accepts {_said(wants)}")
    return _large_enough(found, wants.tokens) if window else found


def _tagged(members: Sequence[Deployment], wants: Wants, any_tag: bool) -> list[Deployment]:
    """Deployments that match the call's tags or its caller's program.

    Otherwise those tagged "default"; for a call without tags then the untagged ones, or all if every one is tagged.
    """

    def matches(member: Deployment) -> bool:
        if wants.tags and (wants.tags & member.tags if any_tag else wants.tags <= member.tags):
            return True
        strict = not any_tag and member.tags
        return not strict and bool(wants.agent) and any(pattern.search(wants.agent) for pattern in member.patterns)

    members = [member for member in members if wants.needed <= member.tags and not wants.unwanted & member.tags]
    found = [member for member in members if matches(member)]
    found = found or [member for member in members if "default" in member.tags]
    if found or wants.tags:
        return found
    untagged = [member for member in members if not (member.tags or member.patterns)]
    return members if wants.needed or wants.unwanted else untagged or members


def _large_enough(members: Sequence[Deployment], tokens: int) -> list[Deployment]:
    windows = {member.id: member.window or known_window(member.model) for member in members}
    found = [member for member in members if tokens <= (windows[member.id] or tokens)]
    if not found:
        most = max(window for window in windows.values() if window)
        raise ContextWindowExceededError(
            f"{members[0].group!r}: the prompt has about {tokens} tokens, and the largest context window is {most}"
        )
    return found


@lru_cache(maxsize=1024)
def known_window(model: str) -> int | None:
    """Tokens of the largest prompt, from the model catalogue."""
    facts = find(model)
    window = None if facts is None else facts.get("max_input_tokens")
    return window if isinstance(window, int) else None


def can_continue(deployment: Deployment) -> bool:
    """Whether the deployment can continue an assistant message (prefill): as configured, else from the model catalogue."""
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
    tags = [*sorted(wants.tags), *(f"&{tag}" for tag in sorted(wants.needed)), *(f"!{tag}" for tag in sorted(wants.unwanted))]
    said = [f"tags {', '.join(tags)}" if tags else "calls without tags"]
    said += [f"team {wants.team}"] if wants.team else []
    said += [f"region {wants.region}"] if wants.region else []
    return ", ".join(said)
