"""Plots a forecast: use of each limit over time, waiting calls, and the time of completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from headrace.errors import ConfigurationError
from headrace.planner.forecast import Forecast

KINDS: Final = (".svg", ".png", ".pdf")
MISSING: Final = 'a plot needs one more package: pip install "headrace[plan]"'
MOST_LINES: Final = 8
"""Most limits in the plot: those that held calls back longest, then the fullest."""
COLOURS: Final = ("#0f766e", "#b45309", "#1d4ed8", "#9d174d", "#4d7c0f", "#6d28d9", "#0369a1", "#57534e")
UNITS: Final = ((86_400.0 * 3, 86_400.0, "days"), (7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def check(path: Path) -> None:
    """Raises ConfigurationError if a plot could not be written there."""
    if path.suffix.lower() not in KINDS:
        raise ConfigurationError(f"{path}: a plot must be one of {', '.join(KINDS)}")
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"{path}: the directory of the plot does not exist")
    _figure()


def draw(found: Forecast, path: Path) -> None:
    """Write the plot of a forecast. The same forecast gives the same file."""
    figure = _figure()(figsize=(10, 6.4), layout="constrained")
    use, line = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    scale, unit = next((size, name) for least, size, name in UNITS if found.finish >= least)
    moments = [at * found.series.width / scale for at in range(len(found.series.waiting) + 1)]
    for colour, name in zip(COLOURS, _shown(found), strict=False):
        use.plot(moments, [0.0, *(100 * share for share in found.series.use[name])], label=name, color=colour, linewidth=1.4)
    use.axhline(100, color="#a8a29e", linewidth=0.8, linestyle=(0, (4, 3)))
    use.set(ylabel="use of the limit, %", ylim=(0, None))
    line.fill_between(moments, [0.0, *found.series.waiting], color="#0f766e", alpha=0.25, linewidth=0)
    line.set(ylabel="calls waiting", xlabel=unit, ylim=(0, None), xlim=(0, None))
    _finish_line(use, line, found.finish / scale)
    use.set_title(
        f"{found.calls:,} calls, done after {found.finish / scale:,.1f} {unit}, {found.provider_429s:,} refused by providers", loc="left"
    )
    _tidy(use, line)
    if found.limits:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    _save(figure, path)


def _shown(found: Forecast) -> list[str]:
    ranked = sorted(found.limits, key=lambda limit: (-limit.binding, -limit.use))
    return [f"{limit.deployment} {limit.limit}" for limit in ranked][:MOST_LINES]


def _finish_line(use: Any, line: Any, at: float) -> None:
    for axes in (use, line):
        axes.axvline(at, color="#44403c", linewidth=1, linestyle=(0, (1, 2)))
    line.annotate("done", (at, 0.95), xycoords=("data", "axes fraction"), xytext=(-4, 0), textcoords="offset points", ha="right", va="top")


def _tidy(*both: Any) -> None:
    for axes in both:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e7e5e4", linewidth=0.6)
        axes.set_axisbelow(True)


def _save(figure: Any, path: Path) -> None:
    import matplotlib as mpl  # late: an optional package, slow to import

    stamp = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
    with mpl.rc_context({"svg.hashsalt": "headrace", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata=stamp)


def _figure() -> Any:
    """matplotlib's Figure. Raises ConfigurationError that says what to install."""
    try:
        from matplotlib.figure import Figure  # late: an optional package, slow to import
    except ImportError:
        raise ConfigurationError(MISSING) from None
    return Figure
