"""The page on planning shows the files that its commands are run with."""

from __future__ import annotations

import pytest

from docs.pages import ROOT, blocks


@pytest.mark.parametrize(("language", "name"), [("yaml", "config.yaml"), ("json", "jobs.jsonl")])
def test_the_page_shows_the_example_as_it_is(language: str, name: str) -> None:
    shown = [block.text for block in blocks((ROOT / "docs" / "planner.md").read_text("utf-8")) if block.language == language]
    assert shown == [(ROOT / "examples" / "plan" / name).read_text("utf-8")]
