"""What a call costs against a limit, as its provider counts: on arrival, probably, and in the end.

`input` is the prompt as the provider is likely to count it. Each function is chosen once per limit, from its unit and profile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from headrace.limits.limit import Charge, Unit, Used
from headrace.limits.profile import Profile

OnArrival: TypeAlias = Callable[[Charge, float, float], float]
"""(charge, input, the most it may write) → what must fit before it is sent."""
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
            return lambda charge, input, most: charge.requests
        case Unit.IN_FLIGHT:
            return lambda charge, input, most: 1.0
        case Unit.MONEY:
            return lambda charge, input, most: charge.money
        case Unit.INPUT:
            return lambda charge, input, most: input
        case Unit.OUTPUT:
            return (lambda charge, input, most: 0.0) if later else (lambda charge, input, most: most)
    if later or not profile.output_counts:
        return lambda charge, input, most: input
    if profile.estimate == "max":
        return lambda charge, input, most: max(input, most)
    return lambda charge, input, most: input + most


def expected(unit: Unit, profile: Profile) -> Expected:
    if unit is Unit.MONEY:
        return lambda charge, input, output: charge.money_expected or charge.money
    arrives = on_arrival(unit, profile)
    if unit not in (Unit.TOKENS, Unit.OUTPUT) or not profile.output_counts:
        return lambda charge, input, output: arrives(charge, input, charge.max_output)
    written = _written(unit, profile)
    if profile.accounting != "reserve":
        return lambda charge, input, output: written(input, output)
    return lambda charge, input, output: arrives(charge, input, charge.max_output) if charge.stated else written(input, output)


def in_the_end(unit: Unit, profile: Profile) -> InTheEnd:
    if unit is Unit.MONEY:
        return lambda charge, input, used: used.money
    arrives = on_arrival(unit, profile)
    if profile.accounting == "post" or unit not in (Unit.TOKENS, Unit.OUTPUT) or (unit is Unit.TOKENS and not profile.output_counts):
        return lambda charge, input, used: arrives(charge, input, charge.max_output)
    written = _written(unit, profile)
    if profile.accounting == "settle":
        return lambda charge, input, used: written(input, used.output)
    return lambda charge, input, used: arrives(charge, input, charge.max_output) if charge.stated else written(input, used.output)


def _written(unit: Unit, profile: Profile) -> Callable[[float, float], float]:
    """(input, output) → what a call costs that is charged for what it wrote."""
    weight = profile.output_weight
    return (lambda input, output: output * weight) if unit is Unit.OUTPUT else (lambda input, output: input + output * weight)
