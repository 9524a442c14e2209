"""Health in the admin API: checks of deployments, the latest results, and the number of calls in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from headrace.api import Router
from headrace.errors import BadRequestError, ConfigurationError
from headrace.gateway.admin.context import AdminContext, AdminRequest, Route, not_found
from headrace.gateway.admin.forms import check_names, mapping, text
from headrace.gateway.admin.model_handlers import shown
from headrace.routing.plan import Deployment
from headrace.runtime.sql_drivers import DatabaseError

_WHERE: Final[Mapping[str, str]] = {
    "base_url": "api_base",
    "api_base": "api_base",
    "api_version": "api_version",
    "rpm": "rpm",
    "tpm": "tpm",
}
"""Parameters of a deployment that are shown with its check, and the names they are shown under."""
MOST: Final = 1000
"""Groups whose latest result is kept."""


class HealthHandlers:
    """Handlers of `/health…`."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._asking = asyncio.Lock()
        self._found: dict[str | None, tuple[float, dict[str, Any]]] = {}
        """By group (None: all), when it was last checked, by the monotonic clock, and the result."""

    def routes(self) -> dict[str, Route]:
        return {
            "/health": Route(("GET",), "look", self.health),
            "/health/latest": Route(("GET",), "look", self.latest),
            "/health/backlog": Route(("GET",), "look", self.backlog),
            "/health/services": Route(("GET",), "look", self.services),
            "/health/test_connection": Route(("POST",), "admin", self.test_connection),
        }

    async def health(self, request: AdminRequest) -> Any:
        """Send a small test call to each deployment: of one `model`, the one with that `model_id`, or all.

        `cached`: seconds for which an earlier result may be reused; 0 checks now.
        """
        router, most = self._context.router, _seconds(request.query.get("cached", "0"))
        model = request.query.get("model") or request.query.get("model_id")
        if model and not (router.serves(model) or router.has_model_id(model)):
            raise not_found(f"model {model!r}")
        async with self._asking:  # concurrent requests get the same result, if it may be a little old
            at, found = self._found.get(model, (0.0, {}))
            if not found or time.monotonic() - at > most:
                found = await self._asked(model)
                at = time.monotonic()
                if len(self._found) >= MOST:  # there is no end of model names that patterns match
                    self._found.clear()
                self._found[model] = at, found
        return {**found, "age": round(time.monotonic() - at, 3)}

    async def _asked(self, model: str | None) -> dict[str, Any]:
        found = await self._context.router.ahealth_check(model)
        sides = {name: [self._row(one) for one in found[f"{name}_endpoints"]] for name in ("healthy", "unhealthy")}
        lists = {f"{name}_endpoints": side for name, side in sides.items()}
        return {**lists, **{f"{name}_count": len(side) for name, side in sides.items()}}

    def _row(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a deployment's check, with the parameters that say where it is."""
        known = self._context.router.get_deployment(found["model_id"])
        params = {} if known is None else shown(known.litellm_params)
        return {**shown(found), **{_WHERE[name]: params[name] for name in _WHERE if name in params}}

    async def latest(self, request: AdminRequest) -> Any:
        """The latest results of health checks and calls for each deployment, without a new check."""
        router = self._context.router
        found = router.health()
        groups = {id: one.group for id in found if (one := router.get_deployment(id)) is not None}
        told = {id: {"model_name": groups.get(id, ""), **one} for id, one in found.items()}
        return {"latest_health_checks": told, "total_models": len(told)}

    async def backlog(self, request: AdminRequest) -> Any:
        """How many calls of this process are in flight, and how many are queued."""
        snapshot = self._context.router.snapshot()
        under_way = sum(one["in_flight"] for one in snapshot["deployments"].values())
        waiting = dict(snapshot["queues"])
        return {"in_flight_requests": under_way, "queued_requests": sum(waiting.values()), "queues": waiting}

    async def services(self, request: AdminRequest) -> Any:
        """Whether a `service` that the gateway depends on responds; the only one is its `database`. Metrics are at `/metrics`."""
        named = request.query.get("service", "")
        if named != "database":
            raise BadRequestError(f"service must be database, got {named!r}: the gateway uses no other service; metrics are at /metrics")
        began = time.monotonic()
        try:
            await self._context.database.read(lambda connection: connection.scalar("SELECT 1"))
        except DatabaseError as error:
            return {"status": "unhealthy", "message": f"the database does not respond ({error})"}
        return {"status": "success", "message": f"the database responded after {(time.monotonic() - began) * 1000:.1f} ms"}

    async def test_connection(self, request: AdminRequest) -> Any:
        """Send a small test call to a deployment, existing or not.

        `litellm_params` with the model alone, or `model_info.id`, refers to one of the gateway's; with any other
        parameter it is a new one that has only what is given.
        """
        check_names(request.body, ("mode", "litellm_params", "model_info"))
        params = mapping("litellm_params", request.body.get("litellm_params"))
        info = mapping("model_info", request.body.get("model_info") or {})
        model, mode = text("litellm_params.model", params.get("model")), request.body.get("mode")
        known = self._known(model, info.get("id")) if params.keys() == {"model"} else None
        if known is not None:
            return _result(await self._context.router.ahealth_check(known.id))
        entry = {"model_name": model, "litellm_params": params, "model_info": {**info, **({"mode": mode} if mode else {})}}
        try:
            router = Router([entry], num_retries=0)
        except ConfigurationError as error:
            raise BadRequestError(error.failure.message) from None
        with closing(router):
            return _result(await router.ahealth_check())

    def _known(self, model: str, id: Any) -> Deployment | None:
        """The deployment with that id, in that group, or with that provider's model."""
        router = self._context.router
        found = router.get_deployment(id) if isinstance(id, str) else router.get_deployment_by_model_group_name(model)
        named = [one for one in map(router.get_deployment, router.get_model_ids()) if one is not None and one.model == model]
        return found or next(iter(named), None)


def _result(found: Mapping[str, Any]) -> dict[str, Any]:
    """The result of checking one deployment."""
    for row in found["healthy_endpoints"]:
        return {"status": "success", "result": shown(row)}
    for row in found["unhealthy_endpoints"]:
        return {"status": "error", "result": shown(row)}
    told = "it was not checked: it has no room at present, or its kind has no cheap test call (images, audio, patterns)"
    return {"status": "error", "result": {"error": told}}


def _seconds(said: str) -> float:
    if not said.replace(".", "", 1).isdecimal():
        raise BadRequestError(f"cached must be a number of seconds of at least 0, got {said!r}")
    return float(said)
