"""`make demo`: runs headrace with your provider or simulated ones, and checks that it keeps its promises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
from rich.live import Live
from rich.text import Text

from headrace import api
from headrace.cli.app import run
from headrace.cli.demo_jobs import OPENING, Sample, Tally, Use, make_jobs, percentile, refused, run_jobs, uses
from headrace.cli.demo_scene import Scene, lanes, real_scene, simulated_scene
from headrace.cli.demo_view import Moment, draw, line
from headrace.cli.terminal import clean, console, pretty, say, write_table
from headrace.settings import settings
from headrace.simulator.server import Running, running

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
PROGRAMS: Final = (
    ("backend.litellm_example", "a complete and a streamed chat response", "LLM"),
    ("backend.embedding_litellm_example", "embeddings", "EMBEDDING"),
)
"""Module, what it demonstrates, and the settings it needs."""

LEAST_USE: Final = 0.95
"""Minimum share of the binding limit that must be used while jobs wait."""
LEAST_SATURATION: Final = 15.0
"""Seconds that jobs must have waited for that share to be meaningful."""
PATIENCE: Final = 60.0
"""Seconds after which an example times out."""
SHOWN: Final = 70
"""Maximum characters shown of a line of an example's output."""


@click.command()
@click.option(
    "--jobs",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Number of concurrent jobs. Default: 300 with simulated providers, 20 with your own.",
)
@click.option("--fast", is_flag=True, help="Multiply the simulated limits by twenty, for a quick look.")
@click.option("--yes", is_flag=True, help="Do not ask before spending money with your own provider.")
def demo(jobs: int | None, fast: bool, yes: bool) -> int:
    """Run the examples, then many jobs at once through one Router, and print the results."""
    values = settings.values()
    if "LLM_PROVIDER" in values and "LLM_MODEL" in values:
        return _on_a_real_provider(jobs or 20, yes)
    return _on_simulated_providers(jobs or 300, fast)


def _on_simulated_providers(jobs: int, fast: bool) -> int:
    scene = simulated_scene(20.0 if fast else 1.0)
    heading("No provider in .env or the environment. Starting simulated ones on this machine.")
    _show_deployments(scene)
    with running(scene.simulator) as base:
        examples = run_examples(scene.environment(base))
    with running(scene.simulator) as base:
        outcome = _jobs(scene, api.Router(scene.model_list(base)), jobs, base)
    return _verdict(scene, outcome, examples)


def _on_a_real_provider(jobs: int, yes: bool) -> int:
    scene = real_scene(settings.model_list())
    heading(f"Using the provider from your settings ({settings.origin}).")
    _show_deployments(scene)
    examples = run_examples({})
    if not yes and not (
        sys.stdin.isatty() and click.confirm(f"Run {jobs} concurrent jobs now? They are short, but cost money.", default=True)
    ):
        say("The jobs were skipped; --yes runs them without asking.")
        return 0 if all(examples.values()) else 1
    return _verdict(scene, _jobs(scene, api.Router(scene.model_list("")), jobs, None), examples)


def heading(text: str) -> None:
    say("")
    say(text, "bold")


def _show_deployments(scene: Scene) -> None:
    columns = ("deployment", "requests a minute", "tokens a minute", "")
    write_table(columns, scene.described(), right=("requests a minute", "tokens a minute"))


# ---- the examples ----------------------------------------------------------------------------------------------------


def run_examples(environment: Mapping[str, str]) -> dict[str, bool]:
    """Run each program in examples/ whose settings are available, unchanged and in its own process. Returns whether
    each succeeded, by name."""
    heading("Running the example programs unchanged:")
    if not EXAMPLES.is_dir():
        raise click.UsageError("the demo runs the programs of examples/: start it from a copy of the repository, with make demo")
    known = environment or settings.values()
    ran = {}
    for module, what, group in PROGRAMS:
        if f"{group}_MODEL" in known:
            ran[module] = _run_example(module, what, {**os.environ, **environment})
        else:
            say(f"- {module}: skipped, {group}_MODEL is not set", "dim")
    return ran


def _run_example(module: str, what: str, environment: Mapping[str, str]) -> bool:
    began = time.monotonic()
    command = [sys.executable, "-m", module]
    try:
        done = subprocess.run(
            command, cwd=EXAMPLES, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
        )
        succeeded, said = done.returncode == 0, done.stdout + (done.stderr if done.returncode else "")
    except subprocess.TimeoutExpired:
        succeeded, said = False, f"did not finish within {PATIENCE:.0f} seconds"
    say(f"{'✓' if succeeded else '✗'} {module}: {what}, {time.monotonic() - began:.1f} s", "green" if succeeded else "red")
    for text in clean(said).strip().splitlines():
        say(f"    {text if len(text) <= SHOWN or not succeeded else text[:SHOWN] + '…'}", "dim")
    return succeeded


# ---- the jobs --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    """The jobs' outcomes, and the providers' statistics meanwhile."""

    tally: Tally
    samples: list[Sample] = field(default_factory=list)
    stats: Mapping[str, Any] = field(default_factory=dict)


def _jobs(scene: Scene, router: api.Router, jobs: int, base: Running | None) -> Run:
    heading(f"{jobs} jobs of mixed size, all at once, through one Router:")
    found = Run(Tally(jobs))
    asyncio.run(_watched(scene, router, found, base))
    if base is not None:
        found.stats = base.stats()
    return found


async def _watched(scene: Scene, router: api.Router, found: Run, base: Running | None) -> None:
    jobs = make_jobs(found.tally.total)
    work = asyncio.create_task(run_jobs(router, scene.group, jobs, found.tally))
    try:
        if pretty():
            with Live(console=console(), refresh_per_second=8) as live:
                async for moment in _moments(scene, router, found, base, work, every=0.125):
                    live.update(draw(moment, live.console.width))
        else:
            async for moment in _moments(scene, router, found, base, work, every=1.0):
                print(line(moment), flush=True)
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def _moments(
    scene: Scene, router: api.Router, found: Run, base: Running | None, work: asyncio.Task[None], *, every: float
) -> AsyncIterator[Moment]:
    """A snapshot every `every` seconds until the jobs are done, plus a final one; each is stored with the providers' statistics."""
    while not work.done():
        await asyncio.wait([work], timeout=every)
        tally = found.tally
        snapshot = router.snapshot()
        waiting = snapshot["queues"].get(scene.group, 0)
        if base is not None:
            found.samples.append(Sample(tally.seconds, waiting, await asyncio.to_thread(base.stats)))
        yield Moment(
            seconds=tally.seconds,
            total=tally.total,
            done=tally.completed,
            failed=len(tally.outcomes) - tally.completed,
            waiting=waiting,
            rerouted=tally.failovers,
            lanes=lanes(scene, snapshot, tally),
        )
    work.result()


# ---- the verdict -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the final table. `kept` is None for a figure without a promise."""

    what: str
    measured: str
    kept: bool | None = None
    judged: bool = True
    """False for a promise that cannot be judged because the run was too short."""


def _verdict(scene: Scene, found: Run, examples: Mapping[str, bool]) -> int:
    """Print the results. Returns 1 if a promise was missed."""
    lines = [
        Line("examples", f"{sum(examples.values())}/{len(examples)} ran", bool(examples) and all(examples.values())),
        Line("jobs completed", f"{found.tally.completed}/{found.tally.total}", found.tally.completed == found.tally.total),
        _refusals(found),
        *(_use_lines(scene, found) if scene.simulated else ()),
        *_waits(found.tally),
        Line("wall time", f"{found.tally.seconds:.1f} s"),
    ]
    heading("Results:")
    write_table(("", "promise", "measured"), [_shown(told) for told in lines])
    for error, count in Counter(outcome.error for outcome in found.tally.outcomes if outcome.error).most_common(5):
        say(f"{count} × {clean(error)}", "red")
    missed = [told.what for told in lines if told.kept is False]
    kept = "Every promise kept." if all(told.judged for told in lines) else "Every promise that could be judged was kept."
    say(f"Missed: {', '.join(missed)}." if missed else kept, "bold red" if missed else "bold green")
    return 1 if missed else 0


def _refusals(found: Run) -> Line:
    """429s, as counted by the simulated providers, else by the failures our calls met."""
    by_calls = sum(outcome.failed.count("rate_limit") for outcome in found.tally.outcomes)
    count = refused(found.stats) if found.stats else by_calls
    source = "counted by the providers" if found.stats else "met by the calls"
    return Line("refused by a provider (429)", f"{count}, {source}", count == 0)


def _use_lines(scene: Scene, found: Run) -> list[Line]:
    failing = sum(found.stats[name]["statuses"].get("500", 0) for name in scene.failing)
    rerouted = Line(
        "calls failed by the failing deployment and answered by others",
        f"{found.tally.failovers} of {failing}",
        found.tally.failovers == failing,
    )
    return [_use_line(uses(found.samples, scene.per_minute())), rerouted]


def _use_line(found: Sequence[Use]) -> Line:
    what = "share of the binding limit used while jobs waited"
    if not found or found[0].seconds < LEAST_SATURATION:
        return Line(what, f"not judged: jobs waited for less than {LEAST_SATURATION + OPENING:.0f} s", judged=False)
    each = ", ".join(f"{use.deployment} {use.share:.1%} of its {use.limit}" for use in found)
    mean = sum(use.share for use in found) / len(found)
    return Line(what, f"{mean:.1%} over {found[0].seconds:.0f} s ({each})", mean >= LEAST_USE)


def _waits(tally: Tally) -> list[Line]:
    done = [outcome for outcome in tally.outcomes if not outcome.error]
    return [
        Line("wait in the queue, p50 / p99 / max", _spread([outcome.waited for outcome in done])),
        Line("latency with the wait, p50 / p99 / max", _spread([outcome.seconds for outcome in done])),
    ]


def _spread(seconds: Sequence[float]) -> str:
    return " / ".join(f"{percentile(seconds, share):.1f}" for share in (0.5, 0.99, 1.0)) + " s"


def _shown(told: Line) -> tuple[Any, ...]:
    mark = {True: ("✓", "green"), False: ("✗", "red"), None: (" ", "")}[told.kept]
    if pretty():
        return Text(*mark), told.what, told.measured
    return {True: "kept", False: "missed", None: "-"}[told.kept], told.what, told.measured


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], demo, "headrace.cli.demo"))
