"""`litellm.max_budget`: the process's budget in dollars; `litellm._current_cost` is what it has spent."""

from __future__ import annotations

import threading
from typing import Any, Final

from headrace.calls import Call
from headrace.compat.litellm import stand_in
from headrace.compat.litellm.stand_in import setting
from headrace.errors import BudgetExceededError
from headrace.layers.around import Handler
from headrace.layers.observing import Outcome, observe
from headrace.ports import Ports

_lock: Final = threading.Lock()


async def within_budget(handler: Handler, ports: Ports, call: Call) -> Any:
    """The handler's response, with its cost recorded. Raises BudgetExceededError once spending exceeds the budget.

    As in litellm, a call is admitted while any budget is left, so concurrent calls may overspend; a Router's
    `max_budget` is exact.
    """
    spent, most = setting("_current_cost") or 0.0, float(setting("max_budget"))
    if spent > most:
        said = f"{spent:.6f} dollars are spent, more than litellm.max_budget={most}"
        raise BudgetExceededError(said, "", call.model, current_cost=spent, max_budget=most)
    return await observe(ports, call, handler, _spent)


def _spent(outcome: Outcome) -> None:
    if cost := outcome.hidden.get("response_cost"):
        with _lock:
            stand_in.module("litellm")._current_cost = (setting("_current_cost") or 0.0) + cost
