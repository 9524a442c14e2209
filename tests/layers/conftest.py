"""An upstream for layers that change what is sent."""

from __future__ import annotations

from tests.client.conftest import upstream

__all__ = ["upstream"]
