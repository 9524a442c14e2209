"""What a call costs against a limit, as its provider counts: on arrival, probably, and in the end.

`input` is the prompt as the provider is likely to count it. Each function is chosen once per limit, from its unit and profile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from headrace.limits.limit import Charge, Unit, Used
from headrace.limits.profile import Profile

OnArrival: TypeAlias = Callable[[Charge, float], float]
"""(charge, input) → what must fit before it is sent."""
Expected: TypeAlias = Callable[[Charge, float, float], float]
"""(charge, input, output) → what it will probably have cost."""
InTheEnd: TypeAlias = Callable[[Charge, float, Used], float]
"""(charge, input, used) → what it did cost, without output that was charged as it was written."""


def as_written(unit: Unit, profile: Profile) -> bool:
    """Whether output is charged as it is written, in addition to what was charged on arrival."""
    return profile.accounting == "post" and (unit is Unit.OUTPUT or (unit is Unit.TOKENS and profile.output_counts))


def on_arrival(unit: Unit, profile: Profile) -> OnArrival:
    later = profile.accounting == "post"
    match unit:
        case Unit.REQUESTS:
            return lambda charge, input: charge.requests
        case Unit.IN_FLIGHT:
            return lambda charge, input: 1.0
        case Unit.MONEY:
            return lambda charge, input: charge.money
        case Unit.INPUT:
            return lambda charge, input: input
        case Unit.OUTPUT:
            return (lambda charge, input: 0.0) if later else (lambda charge, input: charge.max_output)
    if later or not profile.output_counts:
        return lambda charge, input: input
    if profile.estimate == "max":
        return lambda charge, input: max(input, charge.max_output)
    return lambda charge, input: input + charge.max_output


def expected(unit: Unit, profile: Profile) -> Expected:
    weight, arrives = profile.output_weight, on_arrival(unit, profile)
    if unit is Unit.MONEY:
        return lambda charge, input, output: charge.money_expected or charge.money
    if profile.accounting == "reserve" or unit not in (Unit.TOKENS, Unit.OUTPUT) or not profile.output_counts:
        return lambda charge, input, output: arrives(charge, input)
    if unit is Unit.OUTPUT:
        return lambda charge, input, output: output * weight
    return lambda charge, input, output: input + output * weight


def in_the_end(unit: Unit, profile: Profile) -> InTheEnd:
    weight = profile.output_weight
    if unit is Unit.MONEY:
        return lambda charge, input, used: used.money
    if profile.accounting == "settle" and unit is Unit.OUTPUT:
        return lambda charge, input, used: used.output * weight
    if profile.accounting == "settle" and unit is Unit.TOKENS and profile.output_counts:
        return lambda charge, input, used: input + used.output * weight
    arrives = on_arrival(unit, profile)
    return lambda charge, input, used: arrives(charge, input)
