"""`python -m benchmarks.limits.virtual`: the limiter against eleven kinds of enforcement, floods, foreign load and miscounts, virtual time.

Runs B1, B2 and B4 to B7 of the study that the limiter was designed with. B3, many processes, is measured with the
shared store; here only how rarely processes query it while there is ample capacity.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from random import Random

from tests.limits.many import Towns
from tests.limits.town import KINDS, SPREAD, UNEQUAL, Job, Town, known, mixed, small, told_nothing

from headrace.errors import HeadraceError
from headrace.limits import Ask, Charge, Limit, Limiter, Priority, Profile, Unit, Used
from headrace.limits.limit import NANO
from headrace.runtime.virtual import World

SHORT = ("tb1/reserve", "fix10/reserve", "fix1/reserve", "slide1/reserve")
"""Kinds that limit requests over less than a minute: their calls are small, so that requests bind."""
EVEN = 0.99
USE = {"fix10/reserve": 0.97, "fix1/reserve": 0.78, "slide1/reserve": 0.78}
"""Minimum use of the binding limit; w / (w + spread) is the maximum that hard windows of w seconds allow."""
USE_UNTOLD = USE | {"tb1/reserve": 0.97}
"""An undeclared one-second bucket is taken for a ten-second window: under steady load the two refuse alike."""


@dataclass(frozen=True)
class Row:
    """One figure, and its target."""

    what: str
    figure: str
    target: str
    passed: bool


def backlog(kind: str, count: int, *, told: bool) -> Row:
    """B1 with a provider's full profile, B2 with only its token accounting."""
    town = Town(KINDS[kind], known(kind) if told else told_nothing(kind))
    town.backlog(count, small if kind in SHORT else mixed)
    town.world.run()
    refused, use, done = town.refused(), town.use(), len(town.waits)
    least = (USE if told else USE_UNTOLD).get(kind, EVEN)
    if told:
        passed = done == count and use >= least and refused == 0
        return Row(f"B1 {kind}", f"{done} done, {refused} 429s, {use:.1%} used", f"0 429s, {least:.0%}", passed)
    late = sum(at > 60.0 for provider in town.providers.values() for at in provider.refused)
    passed = done == count and use >= least - 0.01 and refused <= 0.0005 * count and late == 0
    figure = f"{done} done, {refused} 429s ({refused / count:.3%}), {late} of them after a minute, {use:.1%} used"
    return Row(f"B2 {kind}, unknown provider", figure, f"<= 0.05% 429s, none after a minute, {least - 0.01:.0%}", passed)


def halved(count: int) -> Iterator[Row]:
    """The provider halves its limits in mid-run, announced by headers or only by refusals."""
    for kind, headers in product(("slide60/reserve", "tb60/reserve", "fix60/reserve"), (True, False)):
        town = Town(KINDS[kind], known(kind), headers=headers)
        at = 300.0

        def halve(town: Town = town, kind: str = kind) -> None:
            for provider in town.providers.values():
                half = KINDS[kind].enforcer(provider.rpm // 2, provider.tpm // 2, Random(1))
                provider.enforcer.change([gauge.rule for gauge in half.gauges], None)

        town.backlog(count, mixed)
        town.world.at(at, halve)
        town.world.run(until=900.0)
        town.world.close()
        moments = [when for provider in town.providers.values() for when in provider.refused]
        soon, late = sum(at <= when <= at + 120 for when in moments), sum(when > at + 120 for when in moments)
        used = [provider.used(at + 120, 900.0) * 2 for provider in town.providers.values()]
        allowed = 0 if headers else len(town.providers) * 5  # one in about two minutes probes whether the limit has risen
        yield Row(
            f"limit halved {'by headers' if headers else 'unannounced'}, {kind}",
            f"{soon} 429s within two windows, {late} in the next 8 minutes, {min(used):.1%} to {max(used):.1%} of the half used",
            f"<= 30 429s, then <= {allowed}, >= 95 %",
            soon <= 30 and late <= allowed and min(used) >= 0.95,
        )


def foreign(count: int) -> Iterator[Row]:
    """B6: others use a fifth of the keys' limits (where max_tokens count, up to a half); headers report it."""
    for kind in ("tb60/post", "slide60/reserve", "fix60/reserve"):
        town = Town(KINDS[kind], known(kind), headers=True)
        town.stranger(2.8, 1500.0)
        town.backlog(count, mixed)
        town.world.run(until=1500.0)
        done = len(town.waits)
        town.world.close()
        share = town.refused() / max(1, done)
        left, whole = town.use(), town.use(by_all=True)
        figure = f"{town.refused()} 429s in {done} ({share:.2%}), {left:.1%} of the remainder used, {whole:.1%} of the limit in all"
        yield Row(
            f"B6 other clients on the same keys, {kind}", figure, "<= 0.2 % 429s, >= 90 %", share <= 0.002 and min(left, whole) >= 0.9
        )


def miscounted(count: int) -> Iterator[Row]:
    """B7: the provider counts 1.1 tokens for each of ours, with 10 % variation."""
    for kind in ("slide60/reserve", "fix60/reserve"):
        town = Town(KINDS[kind], known(kind), miscount=lambda chance: 1.1 * math.exp(chance.gauss(0, 0.1)))
        town.backlog(count, mixed)
        town.world.run()
        share, use = town.refused() / count, town.use()
        figure = f"{town.refused()} 429s ({100 * share:.3f} %), {100 * use:.1f} % used"
        yield Row(f"B7 tokens counted 10 % higher, {kind}", figure, "<= 0.05 % 429s, >= 98.5 %", share <= 0.0005 and use >= 0.985)


def flooded(minutes: int) -> Iterator[Row]:
    """B4: one tenant sends a hundred times as much as each of three light ones."""
    for kind in ("slide60/post", "slide60/reserve"):
        town = Town(KINDS[kind], known(kind))
        until = 60.0 * minutes
        town.stream(50.0, until, partial(mixed, tenant="flood", priority=Priority.BATCH))
        for number in range(3):
            town.stream(0.5, until, partial(mixed, tenant=f"light{number}", priority=Priority.INTERACTIVE), seed=10 + number)
        town.world.run(until=until)
        waits = sorted(wait for job, began, wait in town.waits if job.tenant != "flood" and began > 60.0)
        use = town.use()
        town.world.close()
        median, high = waits[len(waits) // 2], waits[int(0.99 * len(waits))]
        figure = f"light p50 {median:.2f} s, p99 {high:.2f} s, {100 * use:.1f} % used, {town.refused()} 429s"
        passed = high <= 1.0 and use >= 0.98 and town.refused() == 0
        yield Row(f"B4 flood at 100x, {kind}", figure, "light p99 <= 1 s, >= 98 %, 0 429s", passed)


def shared(minutes: int) -> Iterator[Row]:
    """B4: four tenants with unlimited demand, one of them with prompts four times as large."""

    def wanted(chance: Random, **facts: object) -> Job:
        job = mixed(chance, **facts)
        factor = 4 if job.tenant == "0" else 1
        return Job(min(12_000, job.prompt * factor), job.output, job.max_tokens, job.tenant, job.priority)

    town = Town(KINDS["slide60/reserve"], known("slide60/reserve"))
    town.backlog(1400 * minutes, wanted)
    town.world.run(until=60.0 * minutes)
    turns = [
        sum(job.prompt + min(1024, job.max_tokens) + 600 for job, _, _ in town.waits if job.tenant == str(number)) for number in range(4)
    ]
    town.world.close()
    jain = sum(turns) ** 2 / (4 * sum(turn * turn for turn in turns))
    yield Row("B4 equal tenants", f"Jain's index {jain:.4f} of the counted tokens", ">= 0.98", jain >= 0.98)


def fluid(town: Town, jobs: list[Job]) -> float:
    """Seconds that the jobs would take if they were divisible: requests go where tokens are scarce, and vice versa."""
    requests, tokens = float(len(jobs)), float(sum(job.prompt + job.output for job in jobs))
    low, high = 0.0, 1e6
    providers = list(town.providers.values())
    ordered = sorted(jobs, key=lambda job: job.prompt + job.output)
    for _ in range(50):
        middle = (low + high) / 2
        few = min(providers, key=lambda provider: provider.rpm / provider.tpm)
        many = next(provider for provider in providers if provider is not few)
        room_calls, room_tokens = few.rpm * middle / 60, few.tpm * middle / 60
        rest_calls, rest_tokens = requests, tokens
        for job in reversed(ordered):  # the largest jobs go where tokens are plentiful
            size = job.prompt + job.output
            if room_calls < 1 or room_tokens < size:
                break
            room_calls, room_tokens, rest_calls, rest_tokens = room_calls - 1, room_tokens - size, rest_calls - 1, rest_tokens - size
        enough = rest_calls <= many.rpm * middle / 60 and rest_tokens <= many.tpm * middle / 60
        low, high = (low, middle) if enough else (middle, high)
    return high


def unequal(count: int) -> Iterator[Row]:
    """B5: 90 requests and 900k tokens per minute beside 600 requests and 120k tokens."""
    town = Town(KINDS["slide60/post"], known("slide60/post"), deployments=((90, 900_000), (600, 120_000)))
    chance = Random(777)
    jobs = [mixed(chance, tenant=str(number % 4)) for number in range(count)]
    town.backlog(count, mixed)
    town.world.run()
    best, took = fluid(town, jobs), max(began + wait for _, began, wait in town.waits)
    figure = f"{took:.0f} s, {took / best:.3f} x the fluid optimum, {town.refused()} 429s"
    yield Row("B5 unequal ratios", figure, "<= 1.06 x, 0 429s", took / best <= 1.06 and town.refused() == 0)


def budget(calls: int, *, patient: bool) -> Row:
    """Concurrent calls against one budget, which is never exceeded; no call that it could pay for is refused.

    patient: whether calls wait for money that others have reserved and may return.
    """
    dollars, most = 10 * NANO, 30_000_000
    limiter, world, chance = Limiter(random=Random(1)), World(), Random(3)
    limiter.add("d", group="g", limits=(), profile=known("slide60/reserve"))
    limiter.add_scope("team", [Limit(Unit.MONEY, dollars, 30 * 86_400.0, "max_budget")])
    spent = set_aside = refused = committed = 0
    rest = 0
    """The most that was neither spent nor reserved when a call was refused."""

    async def call() -> None:
        nonlocal spent, set_aside, refused, rest, committed
        try:
            held = await limiter.reserve(Ask("g", Charge(money=most), scopes=("team",), max_wait=None if patient else 0), world)
        except HeadraceError:
            refused, rest = refused + 1, max(rest, dollars - spent - set_aside)
            return
        set_aside += most
        committed = max(committed, spent + set_aside)
        await world.sleep(chance.uniform(0.2, 20))
        bill = chance.randint(most // 3, most)
        set_aside, spent = set_aside - most, spent + bill
        limiter.settle(held, used=Used(money=bill), now=world.now())

    for _ in range(calls):
        world.at(chance.uniform(0, 5), lambda: world.spawn(call()))
    world.run()
    most_held, least_short = f"${committed / NANO:.4f} at most including reservations", f"remainder then <= ${rest / NANO:.4f}"
    figure = f"${spent / NANO:.4f} spent, {most_held}, {refused} refused, {least_short}"
    target = f"<= ${dollars / NANO:.0f}, remainder < one call's ${most / NANO:.2f}"
    return Row(
        f"{calls} calls, {'waiting' if patient else 'not waiting'}, on one budget", figure, target, committed <= dollars and rest < most
    )


def plenty(rate: float, seconds: float) -> Iterator[Row]:
    """Four processes at half of what a limit allows: they admit calls from blocks granted by the shared store."""
    rpm, most = round(120 * rate), {True: 0.4, False: 0.8} if rate < 1000 else {True: 0.01, False: 0.05}
    for told in (True, False):
        profile = known("slide60/reserve") if told else Profile()
        town = Towns(KINDS["slide60/reserve"], profile, processes=4, skew=0.25, deployments=((rpm, 1000 * rpm),))
        town.beat(seconds)
        count = town.arrivals(rate, 0, seconds, small)
        town.world.run(until=seconds + 15)
        share, refused = town.called() / count, town.refused()
        figure = f"{len(town.waits)} of {count} done, {refused} 429s, {share:.3f} script calls per call"
        passed = len(town.waits) == count and refused == 0 and share <= most[told]
        yield Row(f"plenty, {rate / 4:g}/s in each, {'' if told else 'un'}known provider", figure, f"0 429s, <= {most[told]:g}", passed)


def runs(quick: bool) -> list[tuple[str, Callable[[], Iterator[Row]]]]:
    count = 2500 if quick else 12_000
    return [
        ("known", lambda: (backlog(kind, count, told=True) for kind in KINDS)),
        ("unknown", lambda: (backlog(kind, count, told=False) for kind in KINDS)),
        ("halved", lambda: halved(6000 if quick else 12_000)),
        ("flood", lambda: flooded(5 if quick else 10)),
        ("shares", lambda: shared(4 if quick else 10)),
        ("unequal", lambda: unequal(1500 if quick else 3000)),
        ("foreign", lambda: foreign(4000 if quick else 10_000)),
        ("miscounted", lambda: miscounted(4000 if quick else 10_000)),
        ("plenty", lambda: chain(plenty(40, 60), plenty(4000, 2 if quick else 10))),
        ("budget", lambda: (budget(1000, patient=patient) for patient in (False, True))),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits.virtual", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the calls; missed targets do not fail")
    parser.add_argument("--only", help="only the runs whose names contain this")
    given = parser.parse_args(arguments)
    chosen = [(name, rows) for name, rows in runs(given.quick) if given.only is None or given.only in name]
    if not chosen:
        parser.error(f"--only matches no run; choose from {', '.join(name for name, _ in runs(given.quick))}")
    began, missed = time.perf_counter(), 0
    print(f"virtual time; {len(UNEQUAL)} deployments; network delays spread by {SPREAD:g} s")
    for _, rows in chosen:
        for row in rows():
            missed += not row.passed
            print(f"{'ok    ' if row.passed else 'MISSED'} {row.what:44} {row.figure:66} target {row.target}", flush=True)
    print(f"{missed} missed, {time.perf_counter() - began:.0f} s")
    return 1 if missed and not given.quick else 0


if __name__ == "__main__":
    sys.exit(main())
