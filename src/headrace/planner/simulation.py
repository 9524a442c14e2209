"""Runs the limiter in virtual time: calls wait in its queue, providers enforce their limits, responses take their time.

A call does what it does in the Router, without the bytes: reserve, send, be admitted or refused, settle.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import Struct

from headrace.errors import BadRequestError, Failure, HeadraceError, Kind
from headrace.limits import Ask, Charge, Limiter, LimiterSettings, Reservation, Used
from headrace.planner.config import Fleet, Place
from headrace.planner.forecast import Forecast, waits_of
from headrace.planner.gauges import Gauges
from headrace.planner.jobs import Job, log_normal
from headrace.planner.providers import accounts_of
from headrace.runtime.virtual import World
from headrace.simulator.enforce import Admitted, Cost, Refused

AT_ONCE: Final = 128
"""Calls of one tenant and class that are in the limiter's queue at once; the others wait outside as plain jobs. The
limiter looks at the first 24 of its queue, so more would only take memory."""

GRAIN: Final = 16
"""Resolution in tokens of the recorded response lengths."""


class Pace(Struct, frozen=True):
    """How fast providers respond. Seconds; medians of log-normal distributions."""

    first_token: float = 0.3
    each_token: float = 0.012
    near: float = 0.02
    """The shortest travel time, one way."""
    far: float = 0.25
    """The longest. No two differ by more than the limiter allows for."""

    def first_tokens(self, chance: random.Random) -> Iterator[float]:
        """Seconds from a request's arrival to the beginning of its response, one per call."""
        return log_normal(chance, self.first_token, 0.4)

    def next_tokens(self, chance: random.Random) -> Iterator[float]:
        """Seconds for each further token, one per call."""
        return log_normal(chance, self.each_token, 0.3)


def forecast(
    fleet: Fleet,
    jobs: Iterable[Job],
    *,
    pace: Pace | None = None,
    seed: int = 1,
    settings: LimiterSettings | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> Forecast:
    """Send `jobs`, ordered by time, to `fleet` and return what becomes of them.

    progress: called now and then with the number of completed calls and the second of the virtual clock. Raises
    BadRequestError for a job whose model no deployment serves.
    """
    return Simulation(fleet, pace or Pace(), seed, settings, progress).run(jobs)


class _Line:
    """Calls of one tenant and class that are not in the limiter's queue yet."""

    __slots__ = ("behind", "inside")

    def __init__(self) -> None:
        self.inside = 0
        self.behind: deque[Job] = deque()


class Simulation:
    """One run. Used once."""

    def __init__(
        self,
        fleet: Fleet,
        pace: Pace,
        seed: int,
        settings: LimiterSettings | None,
        progress: Callable[[int, float], object] | None,
    ) -> None:
        self.fleet = fleet
        self._near, self._spread = pace.near, pace.far - pace.near
        self.world = World(seed=seed)
        self.limiter = Limiter(settings=settings, random=random.Random(seed))
        self.accounts = accounts_of(fleet.places)
        for place in fleet.places:
            self.limiter.add(place.name, group=place.group, limits=place.limits, profile=place.profile, account=place.account)
        self._random = random.Random(seed).random
        self._first_tokens, self._next_tokens = pace.first_tokens(random.Random(seed + 1)), pace.next_tokens(random.Random(seed + 2))
        self._first_tier = {group: _first_tier(fleet, group) for group in fleet.groups}
        self._seats = {group: self.limiter.seat(group, ()) for group in fleet.groups}
        self._groups: dict[str, str] = {}
        self._lines: defaultdict[tuple[str, str, int], _Line] = defaultdict(_Line)
        self._ahead: Iterator[Job] = iter(())
        self._next: Job | None = None
        self._progress = progress
        self.waiting: Counter[str] = Counter()
        """Waiting calls, by group."""
        self.over = False
        """Whether every job has been requested and has ended."""
        self._asked = self._ended = self._never = self._refused = self._at_once = self._most_waiting = 0
        self._example = ""
        self._finish = self._last_asked = self._last_sent = 0.0
        self._served: Counter[str] = Counter()
        self._sizes: dict[str, tuple[float, float]] = {}
        self._outputs: Counter[int] = Counter()
        """Responses by their length in units of `GRAIN`."""
        self._reserved = 0
        self._waited: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._unwaited: Counter[str] = Counter()

    def run(self, jobs: Iterable[Job]) -> Forecast:
        gauges = Gauges(self)
        self._ahead = iter(jobs)
        self._next = next(self._ahead, None)
        if self._next is not None:
            self.world.at(self._next.at, self._arrive)
            self.world.spawn(gauges.watch())
        self.world.run()
        everybody = array("d")
        for waited in self._waited.values():
            everybody.extend(waited)
        tenants = {
            name: waits_of(self._waited.get(name, ()), self._unwaited[name]) for name in sorted({*self._waited, *self._unwaited}) if name
        }
        return Forecast(
            calls=self._asked,
            completed=sum(self._served.values()),
            never_fit=self._never,
            example=self._example,
            provider_429s=self._refused,
            finish=self._finish,
            last_asked=self._last_asked,
            waits=waits_of(everybody, sum(self._unwaited.values())),
            tenants=tenants,
            most_waiting=self._most_waiting,
            reserved=self._reserved / max(1, sum(self._outputs.values())),
            long_answer=_quantile(self._outputs, 0.99) * GRAIN,
            served={place.name: self._served[place.name] for place in self.fleet.places},
            limits=gauges.limits(self._last_sent),
            series=gauges.series(),
        )

    # ---- callers

    def _arrive(self) -> None:
        """Request all jobs that are due."""
        now, job = self.world.now(), self._next
        while job is not None and job.at <= now:
            self._ask(job)
            job = next(self._ahead, None)
        self._next = job
        if job is not None:
            self.world.at(job.at, self._arrive)

    def _ask(self, job: Job) -> None:
        group = self._groups.get(job.model) or self._group(job.model)
        self._asked += 1
        self._last_asked = job.at
        self._sizes.setdefault(group, (job.input, job.max_output))
        line = self._lines[group, job.tenant, job.priority]
        if not line.inside:
            ask, now = self._ask_of(group, job), self.world.now()
            held = self.limiter.at_once(self._seats[group], ask, now)
            if held is not None:
                self._go(group, job, ask, held, now)
                return
        self.waiting[group] += 1
        if line.inside >= AT_ONCE:
            line.behind.append(job)
        else:
            self._enter(line, group, job)

    def _ask_of(self, group: str, job: Job) -> Ask:
        charge = Charge(job.input, job.max_output, job.stated)
        return Ask(group, charge, job.tenant, priority=job.priority, only=self._first_tier[group])

    def _group(self, model: str) -> str:
        group = self.fleet.group_of(model)
        if group is None:
            raise BadRequestError(f"no deployment serves {model!r}; model groups: {', '.join(map(repr, self.fleet.groups))}", model)
        self._groups[model] = group
        return group

    def _enter(self, line: _Line, group: str, job: Job) -> None:
        line.inside += 1
        self.world.spawn(self._serve(line, group, job))

    def _leave(self, line: _Line, group: str) -> None:
        """A call was admitted or refused: the next may enter the limiter's queue."""
        self._most_waiting = max(self._most_waiting, self.waiting[group])
        self.waiting[group] -= 1
        line.inside -= 1
        if line.behind:
            self._enter(line, group, line.behind.popleft())

    # ---- the path of a call

    async def _serve(self, line: _Line, group: str, job: Job) -> None:
        """Wait for room, then send."""
        ask = self._ask_of(group, job)
        try:
            held = await self.limiter.reserve(ask, self.world)
        except HeadraceError as error:
            self._leave(line, group)
            self._refuse(error)
            return
        self._leave(line, group)
        self._go(group, job, ask, held, self.world.now())

    def _go(self, group: str, job: Job, ask: Ask, held: Reservation, now: float) -> None:
        """The call has a reservation."""
        self._measure(group, job)
        self._note_wait(job, now)
        self._send(ask, held, job, now)

    def _send(self, ask: Ask, held: Reservation, job: Job, now: float) -> None:
        self._last_sent = now
        self.world.at(now + self.travel(), _Sent(self, ask, held, job).arrive)

    def travel(self) -> float:
        """Seconds of travel, one way."""
        return self._near + self._spread * self._random()

    def seconds(self, output: int) -> float:
        """Seconds from a request's arrival to the end of its response."""
        return next(self._first_tokens) + next(self._next_tokens) * output

    async def again(self, sent: _Sent) -> None:
        """A provider refused a call: it waits again, at the front of its tenant's queue."""
        self._refused += 1
        held = await self.limiter.reserve(_again(sent.ask), self.world)
        self._send(sent.ask, held, sent.job, self.world.now())

    def done(self, sent: _Sent) -> None:
        self._served[sent.held.deployment] += 1
        self._end()

    def _note_wait(self, job: Job, now: float) -> None:
        waited = now - job.at
        if waited > 0:
            self._waited[job.tenant].append(waited)
        else:
            self._unwaited[job.tenant] += 1

    def _refuse(self, error: HeadraceError) -> None:
        if error.failure.kind is not Kind.NEVER_FITS:
            raise error
        self._never += 1
        self._example = self._example or str(error)
        self._end()

    def _end(self) -> None:
        self._ended += 1
        self._finish = self.world.now()
        self.over = self._next is None and self._ended == self._asked
        if self._progress is not None and self._ended % 2000 == 0:
            self._progress(self._ended, self._finish)

    # ---- sampling

    def typical(self, group: str) -> Ask:
        """A call of the average size of recent ones, to find out what holds them back."""
        input, output = self._sizes[group]
        return Ask(group, Charge(input=round(input), max_output=round(output)), only=self._first_tier[group])

    def _measure(self, group: str, job: Job) -> None:
        most, (input, output) = job.max_output, self._sizes[group]
        self._outputs[-(-job.output // GRAIN)] += 1
        self._reserved += most
        self._sizes[group] = input + 0.02 * (job.input - input), output + 0.02 * (most - output)


class _Sent:
    """A call in flight: travel, response, and back. Each method is one moment of it."""

    __slots__ = ("_admitted", "_refusal", "_run", "ask", "held", "job")

    def __init__(self, run: Simulation, ask: Ask, held: Reservation, job: Job) -> None:
        self._run = run
        self._admitted: Admitted
        self._refusal: Refused
        self.ask = ask
        self.held = held
        self.job = job

    def arrive(self) -> None:
        run, job = self._run, self.job
        now = run.world.now()
        verdict = run.accounts[self.held.deployment].enforcer.admit(now, Cost(job.input, job.max_output if job.stated else job.output))
        if isinstance(verdict, Refused):
            self._refusal = verdict
            run.world.at(now + run.travel(), self.turned_away)
        else:
            self._admitted = verdict
            run.world.at(now + run.seconds(job.output), self.answered)

    def answered(self) -> None:
        run = self._run
        now = run.world.now()
        run.accounts[self.held.deployment].end(now, self._admitted, self.job.output)
        run.world.at(now + run.travel(), self.settle)

    def settle(self) -> None:
        run, job = self._run, self.job
        run.limiter.settle(self.held, used=Used(input=job.input, output=job.output), now=run.world.now())
        run.done(self)

    def turned_away(self) -> None:
        """Settle a 429 as the Router does."""
        run, refusal = self._run, self._refusal
        scope = "tokens" if "token" in refusal.scope else "concurrency" if refusal.scope == "concurrency" else "requests"
        failure = Failure(Kind.RATE_LIMIT, refusal.message, retry_after=refusal.retry_after, scope=scope)  # type: ignore[arg-type]
        run.limiter.settle(self.held, used=None, failure=failure, now=run.world.now())
        run.world.spawn(run.again(self))


def _again(ask: Ask) -> Ask:
    return Ask(ask.group, ask.charge, ask.tenant, priority=ask.priority, only=ask.only, again=True)


def _quantile(counts: Counter[int], share: float) -> int:
    """The smallest value that this share of all values does not exceed; 0 for none."""
    left = share * sum(counts.values())
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return 0


def _first_tier(fleet: Fleet, group: str) -> frozenset[str] | None:
    """The deployments that a Router would use while none fails, those of the lowest order; None for all."""
    members: list[Place] = [place for place in fleet.places if place.group == group]
    tier = min((place.order for place in members), default=0)
    first = frozenset(place.name for place in members if place.order == tier)
    return None if len(first) == len(members) else first
