"""litellm's `mock_testing_…` options: the first group fails without being called, to test the fallbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace import errors
from headrace.calls import Call
from headrace.errors import HeadraceError

FAILURES: Final[Mapping[str, type[HeadraceError]]] = {
    "mock_testing_fallbacks": errors.InternalServerError,
    "mock_testing_context_fallbacks": errors.ContextWindowExceededError,
    "mock_testing_content_policy_fallbacks": errors.ContentPolicyViolationError,
    "mock_testing_rate_limit_error": errors.RateLimitError,
}
"""The failure that each option simulates."""

_FIRST_ONLY: Final = frozenset({*FAILURES, "mock_timeout"})


def rehearsed(call: Call) -> HeadraceError | None:
    """The simulated failure that the caller asked for; None if there is none."""
    cls = next((cls for name, cls in FAILURES.items() if call.control.get(name)), None)
    return None if cls is None else cls(message="simulated failure, to test fallbacks", model=call.model, llm_provider="")


def earnest(call: Call) -> Call:
    """The call without the options that concern its first group only, as it goes to a fallback."""
    if _FIRST_ONLY.isdisjoint(call.control):
        return call
    return msgspec.structs.replace(call, control={name: value for name, value in call.control.items() if name not in _FIRST_ONLY})
