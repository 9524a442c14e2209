"""Token estimates for reservations: fast, without a vocabulary, and corrected later by what the provider reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Four bytes of UTF-8 are about one token in English (four characters) and in Chinese (1.3 characters at 0.6 to 0.8
# tokens each).
BYTES_PER_TOKEN = 4

IMAGE_TOKENS = 1_000
"""Tokens that one image counts as: a high-detail tile picture costs 765 with OpenAI, about 1,500 at most with Anthropic."""

PLAIN_LIMIT = 16_384
"""Size of encoded messages in bytes below which inlined media are not searched for, because they hardly change the
estimate."""


def estimate_encoded(encoded: bytes, value: Any) -> int:
    """Tokens of a prompt given both as JSON bytes and as the value that they encode. At least 1."""
    if len(encoded) < PLAIN_LIMIT or b"base64" not in encoded:
        return len(encoded) // BYTES_PER_TOKEN + 1
    return estimate(value)


def estimate(value: Any) -> int:
    """Tokens of a prompt value: texts by their bytes, images and files by a fixed number, token ids by their count."""
    if isinstance(value, str):
        return len(value.encode()) // BYTES_PER_TOKEN + 1
    if isinstance(value, Mapping):
        return _estimate_mapping(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return sum(1 if isinstance(item, int) else estimate(item) for item in value) or 1
    return 1


def _estimate_mapping(value: Mapping[str, Any]) -> int:
    if value.get("type") in ("image_url", "input_audio", "file", "image", "document"):
        return IMAGE_TOKENS
    return sum(estimate(item) for item in value.values()) or 1
