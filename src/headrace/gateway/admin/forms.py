"""Formats of the admin API: parses LiteLLM's fields into terms, and renders keys, teams and users in LiteLLM's format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from headrace.calls import shape
from headrace.errors import BadRequestError, ConfigurationError
from headrace.gateway.callers import Role
from headrace.gateway.keys.holders import Allowance, Holder, Member, Terms
from headrace.limits.limit import NANO
from headrace.limits.money import UNITS

Read = Callable[[str, Any], Any]


def text(name: str, value: Any) -> str:
    """A string that is not blank. Raises BadRequestError naming the field, like all parsers here."""
    if not isinstance(value, str) or not value.strip():
        raise BadRequestError(f"{name} must be a string, got {shape(value)}")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """A list of strings, without duplicates."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadRequestError(f"{name} must be a list of strings, got {shape(value)}")
    return tuple(dict.fromkeys(value))


def mapping(name: str, value: Any) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise BadRequestError(f"{name} must be an object, got {shape(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """A boolean, also as a string."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise BadRequestError(f"{name} must be true or false, got {shape(value)}")
    return value


def amount(name: str, value: Any) -> int:
    """A positive integer."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadRequestError(f"{name} must be a whole number of at least 1, got {value!r}")
    return value


def money(name: str, value: Any) -> int:
    """Nano-dollars, from dollars."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BadRequestError(f"{name} must be a number of dollars of at least 0, got {value!r}")
    return max(1, round(value * NANO)) if value else 0


def duration(name: str, value: Any) -> str:
    """A duration such as `30m` or `30d`, as a string."""
    if not isinstance(value, str) or not re.fullmatch(r"[1-9]\d*(s|m|h|d|w|mo)", value):
        raise BadRequestError(f"{name} must be like '30m', '24h', '30d' or '1mo', got {value!r}")
    return value


def seconds(name: str, value: Any) -> float:
    """A duration in seconds."""
    count, unit = re.fullmatch(r"(\d+)(\w+)", duration(name, value)).groups()  # type: ignore[union-attr]
    return int(count) * UNITS[unit]


def role(name: str, value: Any) -> str:
    """The name of a `Role`."""
    if value not in [one.value for one in Role]:
        raise BadRequestError(f"{name} must be one of {', '.join(one.value for one in Role)}, got {value!r}")
    return str(value)


def aliases(name: str, value: Any) -> dict[str, str]:
    """Models' names by alias."""
    found = mapping(name, value)
    if not all(isinstance(model, str) for model in found.values()):
        raise BadRequestError(f"{name} must map each alias to a model's name")
    return found


def amounts(name: str, value: Any) -> dict[str, int]:
    """An integer per model."""
    return {model: amount(f"{name}.{model}", given) for model, given in mapping(name, value).items()}


def allowances(name: str, value: Any) -> dict[str, Allowance]:
    """A budget per model: `{"gpt-4o": 5}`, or with a period `{"gpt-4o": {"budget_limit": 5, "time_period": "30d"}}`."""
    return {model: _allowance(f"{name}.{model}", given) for model, given in mapping(name, value).items()}


def _allowance(name: str, given: Any) -> Allowance:
    if not isinstance(given, dict):
        return Allowance(money(name, given))
    check_names(given, ("budget_limit", "time_period", "max_budget", "budget_duration"))
    period = given.get("time_period") or given.get("budget_duration")
    dollars = given["max_budget"] if given.get("budget_limit") is None and "max_budget" in given else given.get("budget_limit")
    return Allowance(money(f"{name}.budget_limit", dollars), None if period is None else duration(f"{name}.time_period", period))


TERMS: Final[Mapping[str, tuple[str, Read]]] = {
    "models": ("models", texts),
    "aliases": ("aliases", aliases),
    "model_aliases": ("aliases", aliases),
    "rpm_limit": ("rpm", amount),
    "tpm_limit": ("tpm", amount),
    "rpd_limit": ("rpd", amount),
    "tpd_limit": ("tpd", amount),
    "max_parallel_requests": ("max_parallel_requests", amount),
    "model_rpm_limit": ("model_rpm", amounts),
    "model_tpm_limit": ("model_tpm", amounts),
    "model_max_budget": ("model_budgets", allowances),
    "max_budget": ("budget", money),
    "budget_duration": ("budget_duration", duration),
    "budget_id": ("budget_id", text),
    "organization_id": ("organization", text),
    "user_role": ("role", role),
    "user_email": ("email", text),
    "tags": ("tags", texts),
    "metadata": ("metadata", mapping),
    "store_prompts_in_spend_logs": ("content", flag),
}
"""LiteLLM's names of terms, and headrace's."""

BUDGET: Final = (
    "max_budget", "budget_duration", "rpm_limit", "tpm_limit", "rpd_limit", "tpd_limit", "max_parallel_requests", "model_max_budget",
)  # fmt: skip
"""Those of them that a named budget may set."""

_SCHEMAS: Final[Mapping[Read, Mapping[str, Any]]] = {
    text: {"type": "string"},
    texts: {"type": "array", "items": {"type": "string"}},
    mapping: {"type": "object"},
    flag: {"type": "boolean"},
    aliases: {"type": "object", "additionalProperties": {"type": "string"}},
    amount: {"type": "integer", "minimum": 1},
    money: {"type": "number", "minimum": 0},
    amounts: {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
    allowances: {"type": "object"},
    duration: {"type": "string", "examples": ["30m", "24h", "30d", "1mo"]},
    role: {"type": "string", "enum": [one.value for one in Role]},
}


def schemas_of(words: Iterable[str]) -> dict[str, Any]:
    """The fields of a body as JSON schemas. Fields that are no terms get an empty schema."""
    return {word: _SCHEMAS[TERMS[word][1]] if word in TERMS else {} for word in words}


_EMPTY: Final[tuple[Any, ...]] = (None, False, "", 0, [], {})


MOST_FORMS: Final = 500


def forms_of(name: str, value: Any) -> list[dict[str, Any]]:
    """A list of bodies sent in one request. Raises BadRequestError."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_FORMS or not all(isinstance(one, dict) for one in value):
        raise BadRequestError(f"{name} must be a list of 1 to {MOST_FORMS} objects, got {shape(value)}")
    return value


def check_names(body: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises BadRequestError for an unknown field, unless its value is empty, as some scripts send it."""
    allowed = frozenset(known)
    unknown = [name for name, value in body.items() if name not in allowed and value not in _EMPTY and value != "default"]
    if unknown:
        raise BadRequestError(f"{unknown[0]} is not known; known: {', '.join(sorted(allowed))}")


def terms_of(body: Mapping[str, Any], before: Terms, now: float) -> Terms:
    """`before` with the fields of a body; null resets a term. Raises BadRequestError naming the field."""
    changed: dict[str, Any] = {}
    for name, (field, read) in TERMS.items():
        if name in body:
            empty = msgspec.structs.asdict(Terms())[field]
            changed[field] = empty if body[name] is None else read(name, body[name])
    terms = msgspec.structs.replace(before, **changed)
    if terms.budget is None and terms.budget_duration is not None and "budget_duration" not in body:
        terms = msgspec.structs.replace(terms, budget_duration=None)
    if terms.budget_duration != before.budget_duration:
        terms = msgspec.structs.replace(terms, budget_since=now if terms.budget_duration else 0.0)
    try:
        terms.check("the body")
    except ConfigurationError as error:
        raise BadRequestError(error.failure.message) from None
    return terms


# ---- responses
# -------------------------------------------------------------------------------------------------------------------


def moment(seconds: float | None) -> str | None:
    """ISO 8601 from Unix seconds."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def dollars(nano: int) -> float:
    """Dollars from nano-dollars."""
    return nano / NANO


def terms_shape(holder: Holder, spent: int, now: float) -> dict[str, Any]:
    """The fields that keys, teams and users have in common."""
    terms = holder.terms
    ends = terms.period_at(now)[1] if terms.budget_duration else None
    return {
        "spend": dollars(spent),
        "max_budget": None if terms.budget is None else dollars(terms.budget),
        "budget_duration": terms.budget_duration,
        "budget_reset_at": moment(ends),
        "budget_id": terms.budget_id or None,
        "organization_id": terms.organization or None,
        "models": list(terms.models),
        "tpm_limit": terms.tpm,
        "rpm_limit": terms.rpm,
        "tpd_limit": terms.tpd,
        "rpd_limit": terms.rpd,
        "max_parallel_requests": terms.max_parallel_requests,
        "model_rpm_limit": dict(terms.model_rpm),
        "model_tpm_limit": dict(terms.model_tpm),
        "model_max_budget": {
            name: {"budget_limit": dollars(one.budget), "time_period": one.duration} for name, one in terms.model_budgets.items()
        },
        "tags": list(terms.tags),
        "metadata": dict(terms.metadata),
        "store_prompts_in_spend_logs": terms.content,
        "blocked": holder.blocked,
        "created_at": moment(holder.created),
        "updated_at": moment(holder.updated),
    }


def key_status(key: Holder, now: float) -> str:
    """`active`, `expired` or `revoked` (blocked)."""
    return "revoked" if key.blocked else "expired" if key.expires is not None and key.expires <= now else "active"


def key_shape(key: Holder, spent: int, now: float) -> dict[str, Any]:
    """A key as it is shown: without its token."""
    return {
        "token": key.hash,
        "token_id": key.hash,
        "key_name": key.hint,
        "key_alias": key.name or None,
        "user_id": key.user or None,
        "team_id": key.team or None,
        "aliases": dict(key.terms.aliases),
        "expires": moment(key.expires),
        "status": key_status(key, now),
        "allowed_routes": list(key.terms.routes),
        **terms_shape(key, spent, now),
    }


def member_shape(member: Member) -> dict[str, Any]:
    """A member's terms within a team, in the shape of LiteLLM's budget table."""
    budget = member.allowance
    return {
        "max_budget": None if budget is None else dollars(budget.budget),
        "budget_duration": None if budget is None else budget.duration,
        "rpm_limit": member.rpm,
        "tpm_limit": member.tpm,
    }


def team_shape(team: Holder, spent: int, now: float) -> dict[str, Any]:
    """A team in LiteLLM's format."""
    return {
        "team_id": team.id,
        "team_alias": team.name or None,
        "members_with_roles": [{"user_id": member.user, "role": member.role} for member in team.terms.members],
        "model_aliases": dict(team.terms.aliases),
        "team_member_budget_table": None if team.terms.each_member is None else member_shape(team.terms.each_member),
        **terms_shape(team, spent, now),
    }


def customer_shape(customer: Holder, spent: int, now: float) -> dict[str, Any]:
    """A customer in LiteLLM's format."""
    shown = terms_shape(customer, spent, now)
    kept = {
        name: value
        for name, value in shown.items()
        if name not in ("models", "tags", "organization_id", "store_prompts_in_spend_logs") and not name.startswith("model_")
    }
    budget = {**budget_shape(customer), "budget_id": customer.terms.budget_id or None} if customer.terms.binds else None
    return {"user_id": customer.id, "alias": customer.name or None, **kept, "litellm_budget_table": budget}


def budget_shape(budget: Holder) -> dict[str, Any]:
    """A named budget in LiteLLM's format."""
    shown = terms_shape(budget, 0, 0.0)
    kept = (*BUDGET, "created_at", "updated_at")
    return {"budget_id": budget.id, **{name: value for name, value in shown.items() if name in kept}}


def organization_shape(organization: Holder, spent: int, now: float) -> dict[str, Any]:
    """An organization in LiteLLM's format."""
    members = [
        {"user_id": member.user, "user_role": member.role, "organization_id": organization.id} for member in organization.terms.members
    ]
    return {
        **terms_shape(organization, spent, now),
        "organization_id": organization.id,
        "organization_alias": organization.name or None,
        "members": members,
        "litellm_budget_table": budget_shape(organization),
    }


def tag_shape(tag: Holder, spent: int, now: float) -> dict[str, Any]:
    """A tag in LiteLLM's format."""
    shown = terms_shape(tag, spent, now)
    unfit = ("tags", "organization_id", "store_prompts_in_spend_logs", "blocked", "metadata")
    kept = {name: value for name, value in shown.items() if name not in unfit}
    return {"name": tag.id, "description": tag.name or None, "model_info": {}, **kept, "litellm_budget_table": budget_shape(tag)}


def user_shape(user: Holder, spent: int, now: float) -> dict[str, Any]:
    """A user in LiteLLM's format."""
    return {
        "user_id": user.id,
        "user_alias": user.name or None,
        "user_email": user.terms.email or None,
        "user_role": user.terms.role or Role.CALLER.value,
        **terms_shape(user, spent, now),
    }
