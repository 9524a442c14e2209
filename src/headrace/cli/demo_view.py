"""Displays the demo while its jobs run: drawn on a terminal, or as one line per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headrace.cli.terminal import MINT

WIDE: Final = 100
"""Terminal width in columns from which gauges have 16 characters instead of 6."""
HEADINGS: Final = {True: ("requests in the last minute", "tokens in the last minute"), False: ("requests a minute", "tokens a minute")}
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Gauge:
    """Use of one limit of one deployment in the last minute."""

    unit: str
    used: float
    limit: float

    @property
    def share(self) -> float:
        return min(1.0, max(0.0, self.used / self.limit)) if self.limit else 0.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One deployment at one moment. `resting`: seconds until its cooldown ends."""

    name: str
    gauges: Sequence[Gauge]
    in_flight: int
    done: int
    resting: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The whole run at one moment."""

    seconds: float
    total: int
    done: int
    failed: int
    waiting: int
    rerouted: int
    lanes: Sequence[Lane]

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self.lanes)


def line(moment: Moment) -> str:
    """One line for a log: no escape codes, the same fields in the same order every time."""
    lanes = "  ".join(f"{lane.name}[{_lane_words(lane)}]" for lane in moment.lanes)
    return (
        f"{moment.seconds:5.1f}s  done {moment.done}/{moment.total}  waiting {moment.waiting}  in flight {moment.in_flight}"
        f"  rerouted {moment.rerouted}  {lanes}"
    )


def _lane_words(lane: Lane) -> str:
    if lane.resting > 0:
        return f"cooldown {lane.resting:.0f}s"
    return " ".join(f"{gauge.unit} {gauge.used:.0f}/{gauge.limit:.0f}" for gauge in lane.gauges) or "no limits"


def draw(moment: Moment, columns: int = WIDE) -> RenderableType:
    """The live view for a terminal `columns` wide."""
    width = 16 if columns >= WIDE else 6
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in ("deployment", *HEADINGS[columns >= WIDE]):
        table.add_column(name)
    for name in ("in flight", "done"):
        table.add_column(name, justify="right")
    for lane in moment.lanes:
        table.add_row(*_row(lane, width))
    return Group(table, Padding(_progress(moment, 2 * width), (0, 0, 1, 0)))


def _row(lane: Lane, width: int) -> tuple[RenderableType, ...]:
    if lane.resting > 0:
        state = Text(f"failing, cooldown {lane.resting:.0f} s", style="yellow")
        return Text(lane.name, style="yellow"), state, "", str(lane.in_flight), str(lane.done)
    gauges = {gauge.unit: _bar(gauge, width) for gauge in lane.gauges}
    nothing = Text("no limit", style="dim")
    return (
        Text(lane.name, style="bold"),
        gauges.get("requests", nothing),
        gauges.get("tokens", nothing),
        str(lane.in_flight),
        str(lane.done),
    )


def _bar(gauge: Gauge, width: int) -> Text:
    return Text.assemble((_filled(gauge.share, width), MINT), (f" {_short(gauge.used):>5}", ""), (f" of {_short(gauge.limit)}", "dim"))


def _filled(share: float, width: int) -> str:
    """A bar of `width` characters with a resolution of an eighth of a character."""
    eighths = round(share * width * 8)
    whole, part = divmod(eighths, 8)
    bar = "█" * whole + (EIGHTHS[part] if part else "")
    return bar.ljust(width, "·")


def _progress(moment: Moment, width: int) -> Text:
    share = moment.done / moment.total if moment.total else 0.0
    words = f"  waiting {moment.waiting} · in flight {moment.in_flight} · rerouted {moment.rerouted} · {moment.seconds:.0f} s"
    failed = (f" · failed {moment.failed}", "red") if moment.failed else ("", "")
    return Text.assemble((_filled(share, width), "green"), f" {moment.done}/{moment.total}", (words, "dim"), failed)


def _short(number: float) -> str:
    """Numbers from 10,000 in thousands (12.3k), so that columns keep their width."""
    return f"{number:.0f}" if number < 10_000 else f"{number / 1000:.1f}k"
