"""Every recorded refusal of every provider. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import error_checks as checks
from conformance.corpus import folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def test_every_refusal_of_every_provider_is_the_right_kind() -> None:
    assert hold(checks.kind, checks.refusals()) > 0
