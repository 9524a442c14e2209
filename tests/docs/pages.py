"""The pages a stranger reads, and the fenced blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the line of the page that its first line stands on."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    docs = (path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
    return [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted(docs)]


def blocks(text: str) -> list[Block]:
    fenced = re.finditer(r"^```(\S+)\n(.*?)^```$", text, re.M | re.S)
    return [Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in fenced]


def commands(block: Block) -> list[str]:
    """The lines of a console block that a reader types."""
    return [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
