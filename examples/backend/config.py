"""The backend's settings: the environment, else `.env` in this folder or in one above it. Read when first asked for."""

from __future__ import annotations

from pathlib import Path

from headrace.settings import Settings

settings = Settings(dotenv=Path(__file__).parent)
