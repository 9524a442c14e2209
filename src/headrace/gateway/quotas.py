"""Rate limit headers: what is left under a caller's own limits, in the format its client reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.limits import Left, Unit
from headrace.limits.account import Account
from headrace.limits.left import left_of
from headrace.limits.limit import Limit
from headrace.limits.meter import Meter

Pairs = list[tuple[str, str]]

_OPENAI: Final[Mapping[Unit, str]] = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}
_ANTHROPIC: Final[Mapping[Unit, str]] = {
    Unit.REQUESTS: "requests", Unit.TOKENS: "tokens", Unit.INPUT: "input-tokens", Unit.OUTPUT: "output-tokens",
}  # fmt: skip


def openai_headers(left: Sequence[Left]) -> Pairs:
    """OpenAI's `x-ratelimit-…` headers."""
    told: Pairs = []
    for unit, name in _OPENAI.items():
        if (found := _tightest(left, unit)) is not None:
            told.append((f"x-ratelimit-limit-{name}", str(found.limit)))
            told.append((f"x-ratelimit-remaining-{name}", str(found.remaining)))
            told.append((f"x-ratelimit-reset-{name}", f"{found.reset:.3f}s"))
    return told


class OpenaiLines:
    """OpenAI's headers for the limits of these scopes as header lines, precomputed for many responses."""

    __slots__ = ("_units",)

    def __init__(self, scopes: Iterable[Account]) -> None:
        meters = [meter for account in scopes for meter in account.meters]
        found = [(name.encode(), [meter for meter in meters if meter.limit.unit is unit]) for unit, name in _OPENAI.items()]
        self._units = [_Lines(name, those) for name, those in found if those]

    def at(self, now: float) -> bytes:
        """The header lines at the time `now`, by the limiter's clock."""
        told = []
        for lines in self._units:
            meter = lines.alone
            if meter is not None and meter.unbooked > 0:  # `left_of` inlined: under steady traffic every response takes this branch
                limit, log = meter.limit, meter._log
                share = ((log.used if log.expires > now else log.current(now)) + meter.unbooked + meter.elsewhere) / meter.room
                if limit is not lines.limit:
                    lines.see(limit)
                told.append(lines.told % (int(limit.amount * (1 - share)) if share < 1.0 else 0))
            else:
                told.append(lines.of(min([left_of(meter, now) for meter in lines.meters], key=_remaining)))
        return b"".join(told)


class _Lines:
    """The header lines for the limits of one unit."""

    __slots__ = ("alone", "limit", "meters", "name", "told")

    def __init__(self, name: bytes, meters: Sequence[Meter]) -> None:
        self.name = name
        self.meters = meters
        self.alone = meters[0] if len(meters) == 1 else None
        self.see(meters[0].limit)

    def see(self, limit: Limit) -> None:
        """Precompute the lines for a limit that was charged just now, so that its reset is the whole window."""
        self.limit = limit
        self.told = _around(self.name, limit.amount, limit.window)

    def of(self, left: Left) -> bytes:
        return _around(self.name, left.limit, left.reset) % left.remaining


def _around(name: bytes, limit: int, reset: float) -> bytes:
    """A template of the lines of one unit, to be filled in with what remains."""
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %.3fs\r\n" % (
        name,
        limit,
        name,
        name,
        reset,
    )


def anthropic_headers(left: Sequence[Left], now: datetime | None = None) -> Pairs:
    """Anthropic's `anthropic-ratelimit-…` headers, whose resets are timestamps."""
    now = datetime.now(UTC) if now is None else now
    told: Pairs = []
    for unit, name in _ANTHROPIC.items():
        if (found := _tightest(left, unit)) is not None:
            moment = (now + timedelta(seconds=found.reset)).strftime("%Y-%m-%dT%H:%M:%SZ")
            told.append((f"anthropic-ratelimit-{name}-limit", str(found.limit)))
            told.append((f"anthropic-ratelimit-{name}-remaining", str(found.remaining)))
            told.append((f"anthropic-ratelimit-{name}-reset", moment))
    return told


def _tightest(left: Iterable[Left], unit: Unit) -> Left | None:
    """Of several limits of a unit (the key's, the team's) the one with the least remaining."""
    return min((one for one in left if one.unit is unit), key=_remaining, default=None)


def _remaining(left: Left) -> int:
    return left.remaining
