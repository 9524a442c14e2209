"""`python -m benchmarks.gateway.flame`: a script-free SVG flame graph from folded stacks, as `py-spy record --format raw` writes them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, ROW, LETTER = 1200, 17, 6.2
"""Pixels."""
COLOURS = {"headrace/limits": "#e8b04a", "headrace/gateway": "#5b9bd5", "headrace": "#7fb3a6"}
"""By a function's package; all others are grey."""


@dataclass
class Frame:
    """A function and the functions it called, in samples."""

    name: str
    samples: int = 0
    inner: dict[str, Frame] = field(default_factory=dict)


def folded(lines: Iterable[str], root: str) -> Frame:
    """Stacks as a tree rooted at the function `root`; stacks without it are dropped."""
    tree = Frame(root)
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        names = [_function(one) for one in stack.split(";")]
        at = next((place for place, name in enumerate(names) if name.startswith(root)), None)
        if at is None:
            continue
        frame = tree
        frame.samples += int(count)
        for name in names[at + 1 :]:
            frame = frame.inner.setdefault(name, Frame(name))
            frame.samples += int(count)
    return tree


def _function(frame: str) -> str:
    """A function with its file, without the line number."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.partition(':')[0].rstrip(')')})"


def svg(tree: Frame, least: float) -> str:
    """The flame graph. `least`: share of all samples below which a function is omitted."""
    boxes: list[tuple[int, float, float, Frame]] = []
    _place(tree, 0, 0.0, WIDTH / tree.samples, least * tree.samples, boxes)
    height = (max(level for level, *_ in boxes) + 1) * ROW
    drawn = "\n".join(_box(level * ROW, left, width, frame, tree.samples) for level, left, width, frame in boxes)
    style = "text{font:11px monospace;fill:#111}rect{stroke:#fff;stroke-width:.5}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"><style>{style}</style>\n{drawn}\n</svg>\n'


def _place(frame: Frame, level: int, left: float, scale: float, least: float, boxes: list[tuple[int, float, float, Frame]]) -> None:
    boxes.append((level, left, frame.samples * scale, frame))
    for inner in sorted(frame.inner.values(), key=lambda one: -one.samples):
        if inner.samples >= least:
            _place(inner, level + 1, left, scale, least, boxes)
        left += inner.samples * scale


def _box(top: int, left: float, width: float, frame: Frame, all_samples: int) -> str:
    colour = next((colour for place, colour in COLOURS.items() if f"({place}" in frame.name), "#c9c9c9")
    short = frame.name.partition(" (")[0][: int(width / LETTER)]
    said = escape(f"{frame.name} {frame.samples / all_samples:.1%}")
    label = f'<text x="{left + 2:.1f}" y="{top + 12}">{escape(short)}</text>' if len(short) > 2 else ""
    rect = f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{ROW}" fill="{colour}"/>'
    return f"<g><title>{said}</title>{rect}{label}</g>"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway.flame", description=__doc__)
    parser.add_argument("--root", default="RequestResponseCycle.run_asgi", help="the function to start at")
    parser.add_argument(
        "--least", type=float, default=0.006, metavar="SHARE", help="leave out functions with a smaller share (default 0.006)"
    )
    chosen = parser.parse_args(arguments)
    tree = folded(sys.stdin, chosen.root)
    if not tree.samples:
        parser.error(f"{chosen.root} is in none of the stacks")
    sys.stdout.write(svg(tree, chosen.least))
    return 0


if __name__ == "__main__":
    sys.exit(main())
