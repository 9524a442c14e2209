"""The cost of a call to a limit, as its provider counts it: on arrival, as expected, and in the end.

`input` is the prompt as the provider is likely to count it. The functions are chosen once per limit, from its unit and
profile.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from headrace.limits.limit import Charge, Unit, Used
from headrace.limits.profile import Profile

Expected: TypeAlias = Callable[[Charge, float, float], float]
"""(charge, input, output) → expected final cost."""
InTheEnd: TypeAlias = Callable[[Charge, float, Used], float]
"""(charge, input, used) → actual cost, without output that was charged as it was written."""


class Arrival(enum.IntEnum):
    """Which of `amounts` must fit before a call is sent."""

    REQUESTS = 0
    ONE = 1
    MONEY = 2
    INPUT = 3
    OUTPUT = 4
    NOTHING = 5
    BOTH = 6
    LARGER = 7


def amounts(charge: Charge, input: float, most: float) -> tuple[float, ...]:
    """Every amount that a limit may count on arrival, in the order of `Arrival`. most: the call's output limit in tokens."""
    return charge.requests, 1.0, charge.money, input, most, 0.0, input + most, input if input > most else most


def picker(arrivals: Sequence[int]) -> Callable[[Sequence[float]], Any]:
    """A function that selects from `amounts` those that these limits count, as a tuple.

    It runs for every call and deployment.
    """
    if len(arrivals) > 1:
        return itemgetter(*map(int, arrivals))
    return itemgetter(slice(arrivals[0], arrivals[0] + 1) if arrivals else slice(0, 0))


def as_written(unit: Unit, profile: Profile) -> bool:
    """Whether output is charged as it is written, in addition to the charge on arrival."""
    return profile.accounting == "post" and (unit is Unit.OUTPUT or (unit is Unit.TOKENS and profile.output_counts))


def on_arrival(unit: Unit, profile: Profile) -> Arrival:
    later = profile.accounting == "post"
    match unit:
        case Unit.REQUESTS:
            return Arrival.REQUESTS
        case Unit.IN_FLIGHT:
            return Arrival.ONE
        case Unit.MONEY:
            return Arrival.MONEY
        case Unit.INPUT:
            return Arrival.INPUT
        case Unit.OUTPUT:
            return Arrival.NOTHING if later else Arrival.OUTPUT
    if later or not profile.output_counts:
        return Arrival.INPUT
    return Arrival.LARGER if profile.estimate == "max" else Arrival.BOTH


def expected(unit: Unit, profile: Profile) -> Expected:
    if unit is Unit.MONEY:
        return lambda charge, input, output: charge.money_expected or charge.money
    arrives = on_arrival(unit, profile)
    if unit not in (Unit.TOKENS, Unit.OUTPUT) or not profile.output_counts:
        return lambda charge, input, output: amounts(charge, input, charge.max_output)[arrives]
    written = _written(unit, profile.output_weight)
    if profile.accounting != "reserve":
        return written
    return lambda charge, input, output: (
        amounts(charge, input, charge.max_output)[arrives] if charge.stated else written(charge, input, output)
    )


def in_the_end(unit: Unit, profile: Profile) -> InTheEnd:
    if unit is Unit.MONEY:
        return lambda charge, input, used: used.money
    arrives = on_arrival(unit, profile)
    if profile.accounting == "post" or unit not in (Unit.TOKENS, Unit.OUTPUT) or (unit is Unit.TOKENS and not profile.output_counts):
        return lambda charge, input, used: amounts(charge, input, charge.max_output)[arrives]
    written = _wrote(unit, profile.output_weight)
    if profile.accounting == "settle":
        return written
    return lambda charge, input, used: amounts(charge, input, charge.max_output)[arrives] if charge.stated else written(charge, input, used)


def _written(unit: Unit, weight: float) -> Expected:
    """Expected cost where actual output is charged."""
    if unit is Unit.OUTPUT:
        return lambda charge, input, output: output * weight
    return lambda charge, input, output: input + output * weight


def _wrote(unit: Unit, weight: float) -> InTheEnd:
    """Actual cost where actual output is charged."""
    if unit is Unit.OUTPUT:
        return lambda charge, input, used: used.output * weight
    return lambda charge, input, used: input + used.output * weight
