"""The backend's settings, from the environment or else from the nearest `.env` in or above this folder. Read on first use."""

from __future__ import annotations

from pathlib import Path

from headrace.settings import Settings

settings = Settings(dotenv=Path(__file__).parent)
