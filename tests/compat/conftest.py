"""An upstream for what is really sent, in both colours."""

from __future__ import annotations

from tests.client.conftest import client, upstream

__all__ = ["client", "upstream"]
