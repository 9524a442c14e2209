"""How each provider charges and refuses: facts of `profiles.toml`, each with its source and date."""

from __future__ import annotations

import datetime
from functools import cache
from typing import Any, Literal

import msgspec

from headrace.errors import ConfigurationError

Accounting = Literal["reserve", "settle", "post"]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a provider accounts for a call."""

    accounting: Accounting = "reserve"
    """reserve: prompt and max_tokens on arrival, never given back · settle: the same, the unused part given back at the end ·
    post: the prompt on arrival, the output as it is written."""
    estimate: Literal["sum", "max"] = "sum"
    """What is taken on arrival: prompt plus max_tokens, or the larger of the two."""
    output_counts: bool = True
    """Whether max_tokens and output count towards tokens at all (Gemini counts input only)."""
    cached_free: bool = False
    """Whether tokens read from the provider's cache do not count."""
    windows: tuple[float, ...] = ()
    """Shorter windows, in seconds, over which requests per minute are enforced as well."""
    burst: float | None = None
    """Seconds of its limit that a provider's bucket holds, where that is known and less than a minute."""
    source: str = ""
    checked: datetime.date | None = None
    confidence: Literal["documented", "recorded", "secondary", "inferred", "unknown"] = "unknown"

    def __post_init__(self) -> None:
        if any(window <= 0 for window in self.windows):
            raise ValueError("windows must be positive numbers of seconds")
        if self.burst is not None and self.burst <= 0:
            raise ValueError("burst must be a positive number of seconds")


@cache
def profiles() -> dict[str, Profile]:
    """Every built-in profile by name."""
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


def profile_of(name: str | None) -> Profile:
    """The profile of that name; the cautious default for none. Raises ConfigurationError for a name nobody knows."""
    if not name:
        return profiles()["default"]
    if name not in profiles():
        raise ConfigurationError(f"there is no profile {name!r}; known: {', '.join(profiles())}")
    return profiles()[name]
