"""litellm's `mock_testing_…`: a call whose first group fails without being asked, to see that its fallbacks work."""

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
"""What each says that the first group has failed with."""

_FIRST_ONLY: Final = frozenset({*FAILURES, "mock_timeout"})


def rehearsed(call: Call) -> HeadraceError | None:
    """The failure that the caller asked for in the place of his first group's answer."""
    cls = next((cls for name, cls in FAILURES.items() if call.control.get(name)), None)
    return None if cls is None else cls(message="this failure was asked for, to see what stands behind", model=call.model, llm_provider="")


def earnest(call: Call) -> Call:
    """The call as it goes on from there: what was asked for of the first group alone is over."""
    if _FIRST_ONLY.isdisjoint(call.control):
        return call
    return msgspec.structs.replace(call, control={name: value for name, value in call.control.items() if name not in _FIRST_ONLY})
