"""How each provider charges and refuses: the rows of `profiles.toml`, each with source and date."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import msgspec

from headrace.errors import ConfigurationError

Accounting = Literal["reserve", "settle", "post"]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a provider accounts for a call."""

    accounting: Accounting = "reserve"
    """reserve: prompt and max_tokens on arrival, never given back · settle: the same, with the unused part given back
    at the end · post: the prompt on arrival, the output as it is written."""
    estimate: Literal["sum", "max"] = "sum"
    """What is charged on arrival: prompt plus max_tokens, or the larger of the two."""
    output_counts: bool = True
    """Whether max_tokens and output count as tokens at all (Gemini counts input only)."""
    output_weight: float = 1.0
    """Tokens of the limit that one output token finally takes (Bedrock's burndown rate)."""
    cached_free: bool = False
    """Whether tokens read from the provider's cache do not count."""
    count_failed: bool = False
    """Whether refused requests count as requests."""
    windows: tuple[float, ...] = ()
    """Shorter windows, in seconds, over which requests per minute are enforced as well."""
    request_burst: float | None = None
    """Burst of the request limit, in seconds of its rate; None if unknown."""
    token_burst: float | None = None
    """The same for tokens."""
    source: str = ""
    checked: datetime.date | None = None
    confidence: Literal["documented", "recorded", "secondary", "inferred", "unknown"] = "unknown"

    def __post_init__(self) -> None:
        for name in ("request_burst", "token_burst", "output_weight"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if not all(0 < window < 60 for window in self.windows):
            raise ValueError(f"windows must be between 0 and 60 seconds, shorter than the minute that they divide; got {self.windows!r}")
        if self.windows and self.request_burst is not None:
            raise ValueError("windows and request_burst contradict each other: a provider counts requests in windows or in a bucket")
        if self.accounting == "post" and self.estimate == "max":
            raise ValueError('accounting = "post" and estimate = "max" contradict each other: max_tokens is not taken on arrival')


@cache
def profiles() -> dict[str, Profile]:
    """All built-in profiles by name."""
    import tomllib  # late: only a router needs it
    from importlib.resources import files  # late as well

    rows = tomllib.loads((files(__package__) / "profiles.toml").read_text("utf-8"))
    return {name: read_profile(name, row) for name, row in rows.items()}


def read_profile(name: str, row: Any) -> Profile:
    """A profile from its row. Raises ConfigurationError that names the field."""
    try:
        return msgspec.convert(row, Profile)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"profile {name!r}: {error}") from error


def override(base: Profile, facts: Mapping[str, Any]) -> Profile:
    """`base` with some fields overridden by the configuration; a `name` among them selects another base.

    Raises ConfigurationError that names the field, also if two contradict each other.
    """
    given = {name: value for name, value in facts.items() if name != "name"}
    if "name" in facts:
        base = profile_of(facts["name"])
    known = {name: getattr(base, name) for name in Profile.__struct_fields__}
    if "windows" in given and "request_burst" not in given:
        known["request_burst"] = None
    if given.get("request_burst") is not None and "windows" not in given:
        known["windows"] = ()
    return read_profile("profile", {**known, "confidence": "documented", **given} if given else known)


def profile_of(name: str | None) -> Profile:
    """The profile of that name; the cautious default for None. Raises ConfigurationError for an unknown name."""
    if not name:
        return profiles()["default"]
    if name not in profiles():
        raise ConfigurationError(f"there is no profile {name!r}; known: {', '.join(profiles())}")
    return profiles()[name]
