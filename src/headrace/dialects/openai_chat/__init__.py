"""OpenAI's Chat Completions, and what hundreds of providers serve in its shape."""

from __future__ import annotations

from headrace.dialects.failures import read_error
from headrace.dialects.openai_stream import ChunkReader, read_body
from headrace.dialects.quota import read_quota

__all__ = ["ChunkReader", "read_body", "read_error", "read_quota"]
