"""Rankings, counts of tokens and every other endpoint against what was really sent. Skips where nothing was recorded."""

from __future__ import annotations

import pytest

from conformance import beside_checks, endpoint_checks
from conformance.corpus import everything, folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)

GOOD = [it for it in everything() if it.status < 300]


def test_every_reranking_is_asked_for_and_read() -> None:
    assert hold(beside_checks.ranked, [it for it in GOOD if it.endpoint == "rerank"]) > 0


def test_every_count_is_asked_for_and_read() -> None:
    assert hold(beside_checks.counted, beside_checks.counts(GOOD)) > 0


def test_files_batches_models_and_the_rest_are_called_as_they_were_recorded() -> None:
    assert hold(endpoint_checks.called, list(endpoint_checks.concerned(GOOD))) > 10


def test_every_stream_of_a_text_completion_adds_up() -> None:
    assert hold(beside_checks.texts, [it for it in GOOD if it.kind == "completions" and it.sse_text]) > 0
