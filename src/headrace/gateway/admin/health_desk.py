"""Health at the desk: deployments asked now or lately, what checks have found, and how much is under way."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from headrace.errors import BadRequestError
from headrace.gateway.admin.counter import Counter, Question, Route, not_found
from headrace.gateway.admin.model_desk import shown

MOST: Final = 1000
"""Groups whose latest answer is kept."""


class HealthDesk:
    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._asking = asyncio.Lock()
        self._found: dict[str | None, tuple[float, dict[str, Any]]] = {}
        """When each group (None: all) was asked last, by the monotonic clock, and what came of it."""

    def routes(self) -> dict[str, Route]:
        return {
            "/health": Route(("GET",), "look", self.health),
            "/health/latest": Route(("GET",), "look", self.latest),
            "/health/backlog": Route(("GET",), "look", self.backlog),
        }

    async def health(self, question: Question) -> Any:
        """Ask each deployment a small question, of one `model` or of all. `cached`: seconds that an answer may be old; 0 asks now."""
        model, most = question.query.get("model"), _seconds(question.query.get("cached", "0"))
        if model and not self._counter.router.serves(model):
            raise not_found(f"model {model!r}")
        async with self._asking:  # who asks meanwhile has the same answer, where it may be a little old
            at, found = self._found.get(model, (0.0, {}))
            if not found or time.monotonic() - at > most:
                found = await self._asked(model)
                at = time.monotonic()
                if len(self._found) >= MOST:  # names that patterns serve have no end
                    self._found.clear()
                self._found[model] = at, found
        return {**found, "age": round(time.monotonic() - at, 3)}

    async def _asked(self, model: str | None) -> dict[str, Any]:
        found = await self._counter.router.ahealth_check(model)
        sides = {name: [shown(one) for one in found[f"{name}_endpoints"]] for name in ("healthy", "unhealthy")}
        lists = {f"{name}_endpoints": side for name, side in sides.items()}
        return {**lists, **{f"{name}_count": len(side) for name, side in sides.items()}}

    async def latest(self, question: Question) -> Any:
        """What checks and calls have found of each deployment, without asking anybody."""
        router = self._counter.router
        found = router.health()
        groups = {id: one.group for id in found if (one := router.get_deployment(id)) is not None}
        told = {id: {"model_name": groups.get(id, ""), **one} for id, one in found.items()}
        return {"latest_health_checks": told, "total_models": len(told)}

    async def backlog(self, question: Question) -> Any:
        """How many calls of this process are under way, and how many wait."""
        snapshot = self._counter.router.snapshot()
        under_way = sum(one["in_flight"] for one in snapshot["deployments"].values())
        waiting = dict(snapshot["queues"])
        return {"in_flight_requests": under_way, "queued_requests": sum(waiting.values()), "queues": waiting}


def _seconds(said: str) -> float:
    if not said.replace(".", "", 1).isdecimal():
        raise BadRequestError(f"cached must be a number of seconds of at least 0, got {said!r}")
    return float(said)
