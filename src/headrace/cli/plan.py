"""`headrace plan`: predicts what a configuration can carry, without making a call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from headrace.cli.terminal import MINT, console, pretty, say, write_json, write_table
from headrace.dialects.durations import seconds
from headrace.errors import ConfigurationError
from headrace.limits import LimiterSettings
from headrace.planner import Burst, Fleet, Forecast, Job, Load, Pace, WhatIf, forecast, read_config, read_jobs, what_if

WAITS: Final = ("waiting", "mean", "median", "95 %", "99 %", "longest")
LIMITS: Final = ("deployment", "limit", "amount", "used", "at most", "binding")
CHANGES: Final = ("what if", "done after", "mean wait", "95 %", "then binding")


class Duration(click.ParamType[Any]):
    """Seconds, or parts like 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = seconds(value)
        if found is None:
            self.fail(f"{value!r} is not a time like 90s, 5m or 1h30m", param, ctx)
        return found


class BurstParam(click.ParamType[Any]):
    """CALLS@WHEN, with /EVERY to repeat."""

    name = "burst"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Burst:
        calls, _, rest = str(value).partition("@")
        at, slash, every = rest.partition("/")
        begin, again = seconds(at or "0"), seconds(every) if slash else 0.0
        if not calls.isdecimal() or int(calls) < 1 or begin is None or again is None or (slash and again <= 0):
            self.fail(f"{value!r} is not a burst like 500@1h (once) or 500@0s/1h (every hour)", param, ctx)
        return Burst(int(calls), begin, again)


class TenantParam(click.ParamType[Any]):
    """NAME=PART."""

    name = "tenant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, _, part = str(value).partition("=")
        try:
            return name, float(part or 1)
        except ValueError:
            self.fail(f"{value!r} is not a tenant like anna=3", param, ctx)


@click.command(short_help="Predict when a load is done, who waits and which limit binds.")
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--jobs", metavar="FILE", type=click.File("rb"), help="Calls to make, one JSON object per line; - for standard input.")
@click.option("--model", metavar="NAME", help="Model group to call, if the configuration has several or a job names none.")
@click.option("--rate", type=click.FloatRange(min=0), default=0.0, metavar="N", help="Calls a second, at random moments.")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, metavar="H", help="Duration of the load."
)
@click.option(
    "--burst",
    "bursts",
    type=BurstParam(),
    multiple=True,
    metavar="N@WHEN[/EVERY]",
    help="N additional calls at once; with EVERY, repeatedly.",
)
@click.option("--input", type=click.IntRange(min=1), default=1000, show_default=True, metavar="TOKENS", help="Mean length of a prompt.")
@click.option("--output", type=click.IntRange(min=0), default=300, show_default=True, metavar="TOKENS", help="Mean length of an answer.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="TOKENS", help="max_tokens of each call.")
@click.option(
    "--sigma", type=click.FloatRange(min=0), default=0.5, show_default=True, metavar="X", help="How much lengths vary; 0 for equal ones."
)
@click.option(
    "--tenant",
    "tenants",
    type=TenantParam(),
    multiple=True,
    metavar="NAME[=PART]",
    help="Tenant of calls, and its share of them; repeat for more.",
)
@click.option("--first-token", type=Duration(), default=0.3, metavar="TIME", help="Time until an answer begins (0.3 s).")
@click.option(
    "--speed", type=click.FloatRange(min=0, min_open=True), default=80.0, show_default=True, metavar="N", help="Output tokens a second."
)
@click.option(
    "--what-if", "most", type=click.IntRange(min=0), default=4, show_default=True, metavar="N", help="Number of changes to try; 0 for none."
)
@click.option(
    "--look-ahead",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    metavar="N",
    help="Queued calls matched at once; 6 is faster.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Seed of the random numbers.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE", help="Draw the forecast: .svg, .png or .pdf."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def plan(config: Path, jobs: Any, model: str | None, most: int, plot: Path | None, as_json: bool, **figures: Any) -> int:
    """Run the Router's scheduler against simulated providers with the limits of CONFIG, in virtual time.

    CONFIG holds a model_list as LiteLLM has it (.yaml, .json or .toml). No key is needed and nobody is called.

    \b
      headrace plan config.yaml --jobs jobs.jsonl
      headrace plan config.yaml --rate 10 --hours 24 --input 1000 --output 300
      headrace plan config.yaml --burst 5000@0s --tenant anna=3 --tenant ben --plot plan.svg
    """
    drawn = _drawer(plot)
    fleet = read_config(config)
    make = _jobs_of(fleet, jobs, model, figures)
    pace = Pace(first_token=figures["first_token"], each_token=1 / figures["speed"])
    alike: dict[str, Any] = {"pace": pace, "seed": figures["seed"], "settings": LimiterSettings(look_ahead=figures["look_ahead"])}
    with _working() as told:
        found = forecast(fleet, make(), **alike, progress=told)
        tried = what_if(fleet, make, found, **alike, most=most) if most else []
    drawn(found)
    if as_json:
        write_json({"forecast": found.model_dump(), "what_if": msgspec.to_builtins(tried)})
    else:
        show(found, tried)
    return 1 if found.never_fit else 0


# ---- input


def _jobs_of(fleet: Fleet, file: Any, model: str | None, figures: dict[str, Any]) -> Callable[[], Iterable[Job]]:
    """A function that returns the same jobs each time."""
    if model is not None and fleet.group_of(model) is None:
        raise click.UsageError(f"--model: no deployment serves {model!r}; there are {_list(fleet.groups)}", click.get_current_context())
    if file is not None:
        if figures["rate"] or figures["bursts"]:
            raise click.UsageError("give --jobs, or --rate and --burst, not both", click.get_current_context())
        jobs = _read(file, model or _only(fleet), figures["output"])
        return lambda: jobs
    if not figures["rate"] and not figures["bursts"]:
        raise click.UsageError("what is to be called? give --jobs FILE, or --rate or --burst", click.get_current_context())
    name = model or _only(fleet)
    if name is None:
        raise click.UsageError(f"which model? name one with --model: {_list(fleet.groups)}", click.get_current_context())
    wanted = ("rate", "hours", "input", "output", "max_tokens", "sigma", "bursts", "seed")
    load = Load(name, tenants=dict(figures["tenants"]), **{figure: figures[figure] for figure in wanted})
    return lambda: load


def _read(file: Any, model: str | None, output: int) -> list[Job]:
    try:
        return read_jobs(file, model=model, output=output)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file.name}: {error}") from error


def _only(fleet: Fleet) -> str | None:
    return fleet.groups[0] if len(fleet.groups) == 1 else None


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _drawer(path: Path | None) -> Callable[[Forecast], object]:
    """A function that draws the forecast. The path is checked first, so that a long run is not lost."""
    if path is None:
        return lambda found: None
    from headrace.planner.plot import check, draw  # late: only this option needs it

    check(path)
    return lambda found: draw(found, path)


def _working() -> Any:
    """A progress display on standard error, if that is a terminal."""
    if not pretty(sys.stderr):
        return nullcontext(None)
    return _Status()


class _Status:
    """A status line that shows progress."""

    def __init__(self) -> None:
        self._status = console(sys.stderr).status("planning …", spinner_style=MINT)

    def __enter__(self) -> Callable[[int, float], object]:
        self._status.__enter__()
        return lambda done, second: self._status.update(f"planning … {done:,} calls, {span(second)}")

    def __exit__(self, *error: Any) -> None:
        self._status.__exit__(*error)


# ---- output


def show(found: Forecast, tried: Sequence[WhatIf]) -> None:
    """Tables on a terminal; otherwise one record per line."""
    if not pretty():
        _print_records(found, tried)
        return
    say(_headline(found), "bold")
    say(_verdict(found))
    everyone = [("everybody", found.waits), *found.tenants.items()]
    write_table(WAITS, [(name, *map(wait, _figures(waits))) for name, waits in everyone], right=WAITS[1:])
    write_table(LIMITS, [_limit_row(limit) for limit in found.limits], right=LIMITS[2:])
    if tried:
        write_table(CHANGES, [_change_row(one) for one in tried], right=CHANGES[1:4])
    elif not found.binding:
        say("no limit held any call back: higher limits would change nothing", "dim")


def _headline(found: Forecast) -> str:
    asked = f"{found.calls:,} calls over {span(found.last_asked)}" if found.last_asked else f"{found.calls:,} calls at once"
    return f"{asked}: done after {span(found.finish)}"


def _verdict(found: Forecast) -> str:
    parts = [f"{found.provider_429s:,} refused by providers", f"{found.most_waiting:,} waiting at most"]
    if found.binding:
        first = found.binding[0]
        parts.append(f"{first.deployment} {first.limit} binds most ({first.binding:.0%} of the time)")
    if found.never_fit:
        parts.append(f"{found.never_fit:,} never fit: {found.example}")
    return "; ".join(parts)


def _limit_row(limit: Any) -> tuple[str, ...]:
    binding = f"{limit.binding:.1%}" if limit.binding else "–"
    return limit.deployment, limit.limit, f"{limit.amount:,}", f"{limit.use:.1%}", f"{limit.peak:.1%}", binding


def _change_row(one: WhatIf) -> tuple[str, ...]:
    return one.change, span(one.finish), wait(one.waits.mean), wait(one.waits.p95), one.binding or "nothing"


def _figures(waits: Any) -> tuple[float, ...]:
    return waits.mean, waits.p50, waits.p95, waits.p99, waits.longest


def _print_records(found: Forecast, tried: Sequence[WhatIf]) -> None:
    counts = (found.calls, found.completed, found.never_fit, found.provider_429s, found.most_waiting)
    _print("forecast", *counts, _plain(found.last_asked), _plain(found.finish), *map(_plain, _figures(found.waits)))
    for name, waits in found.tenants.items():
        _print("tenant", name, *map(_plain, _figures(waits)))
    for limit in found.limits:
        _print("limit", limit.deployment, limit.limit, limit.amount, *(f"{share:.4f}" for share in (limit.use, limit.peak, limit.binding)))
    for one in tried:
        _print("what-if", one.change, _plain(one.finish), *map(_plain, _figures(one.waits)), one.binding or "-")


def _print(*cells: object) -> None:
    print("\t".join(map(str, cells)))


def _plain(time: float) -> str:
    return f"{time:.3f}"


def span(time: float) -> str:
    """A duration such as 3 d 4 h, 2 h 05 m, 4 m 20 s or 12.3 s."""
    if time < 60:
        return f"{time:.1f} s"
    whole = round(time)
    for size, unit, small, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small:02d} {part}"
    return f"{whole} s"


def wait(time: float) -> str:
    """A waiting time: 0, milliseconds below a second, else as `span`."""
    return "0" if not time else f"{time * 1000:.0f} ms" if time < 1 else span(time)
