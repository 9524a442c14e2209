"""Azure, Vertex AI, Bedrock's invoke and the other clouds against recorded traffic. Skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import hybrid_checks as checks
from conformance.corpus import folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def test_every_request_goes_to_the_address_it_was_sent_to() -> None:
    assert hold(checks.address, checks.places()) > 0


def test_every_request_for_claude_is_in_its_clouds_envelope() -> None:
    assert hold(checks.envelope, checks.claudes()) > 0


def test_every_packed_stream_is_unpacked_however_it_is_cut() -> None:
    assert hold(checks.unpacked, checks.packed()) > 0


def test_a_packed_stream_cut_anywhere_is_no_answer() -> None:
    assert hold(checks.cuts, checks.packed()) > 0


def test_every_embedding_of_bedrocks_is_asked_for_and_read() -> None:
    assert hold(checks.embedded, checks.embeddings()) > 0
