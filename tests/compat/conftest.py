"""An upstream for what is really sent, in both colours; litellm's ways end with each test."""

from __future__ import annotations

import pytest
from tests.client.conftest import client, upstream

__all__ = ["client", "upstream"]


@pytest.fixture(autouse=True)
def _put_away(litellm_put_away: None) -> None:
    """Of every test here."""
