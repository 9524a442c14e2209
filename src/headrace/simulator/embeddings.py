"""Deterministic embeddings of unit length, assembled from precomputed blocks so that thousands are cheap."""

from __future__ import annotations

import base64
import hashlib
import math
import random
import struct
from collections.abc import Sequence
from functools import cache
from typing import Final

BLOCK: Final = 8
"""Numbers per block. Each block of a vector is one of 256, chosen by a byte of the input's hash."""


def embedding_json(text: str | Sequence[int], dimensions: int) -> bytes:
    """The vector as a JSON array."""
    blocks, tail = _tables(dimensions)
    picks = _picks(text, dimensions)
    parts = [blocks[pick][0] for pick in picks[: dimensions // BLOCK]]
    if tail:
        parts.append(tail[picks[-1]][0])
    return b"[" + b",".join(parts) + b"]"


def embedding_base64(text: str | Sequence[int], dimensions: int) -> bytes:
    """The vector as a JSON string: base64 of little-endian float32."""
    blocks, tail = _tables(dimensions)
    picks = _picks(text, dimensions)
    parts = [blocks[pick][1] for pick in picks[: dimensions // BLOCK]]
    if tail:
        parts.append(tail[picks[-1]][1])
    return b'"' + base64.b64encode(b"".join(parts)) + b'"'


def _picks(text: str | Sequence[int], dimensions: int) -> bytes:
    material = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else b"ids:" + ",".join(map(str, text)).encode()
    return hashlib.shake_128(material).digest(-(-dimensions // BLOCK))


Table = list[tuple[bytes, bytes]]


@cache
def _tables(dimensions: int) -> tuple[Table, Table]:
    """256 blocks of `BLOCK` numbers, and 256 of the remaining dimensions; any combination is a vector of length 1."""
    rest = dimensions % BLOCK
    return _table(BLOCK, dimensions), _table(rest, dimensions) if rest else []


def _table(size: int, dimensions: int) -> Table:
    rng = random.Random(size)
    return [_block([rng.gauss(0, 1) for _ in range(size)], math.sqrt(size / dimensions)) for _ in range(256)]


def _block(values: list[float], length: float) -> tuple[bytes, bytes]:
    norm = math.sqrt(sum(value * value for value in values))
    scaled = [round(value / norm * length, 9) for value in values]
    return ",".join(f"{value:.9f}" for value in scaled).encode(), struct.pack(f"<{len(scaled)}f", *scaled)
