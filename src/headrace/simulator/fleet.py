"""All simulated providers of one configuration, routed by path, and the simulator's own HTTP interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.errors import ConfigurationError
from headrace.simulator.config import SimulatorConfig, checked
from headrace.simulator.engine import Incoming, Provider
from headrace.simulator.exchange import Exchange
from headrace.simulator.faults import BadFault, make_fault

JSON: Final = [("content-type", "application/json")]
OWN: Final[Mapping[str, str]] = {"/stats": "GET", "/stats/reset": "POST", "/control": "POST", "/health": "GET"}


class Fleet:
    """The providers by name. `now` is their common clock, `epoch` its zero in Unix seconds.

    Raises ConfigurationError if a configuration built in Python is invalid.
    """

    def __init__(self, config: SimulatorConfig, *, now: float = 0.0, epoch: float = 0.0) -> None:
        self.config = config = checked(config)
        self.providers = {provider.name: Provider(provider, seed=config.seed, now=now, epoch=epoch) for provider in config.providers}
        self.late = 0.0
        """Maximum seconds that a request may have waited here before being processed."""

    def handle(self, incoming: Incoming, now: float) -> Exchange:
        """The reply of the provider at the path: /NAME/v1/…, or /v1/… if there is only one, or the simulator's own.

        Gemini's dialect is also served under v1beta.
        """
        if incoming.path in OWN:
            return self._own(incoming, now)
        _, name, rest = (*incoming.path.split("/", 2), "")[:3]
        provider = self.providers.get(name)
        if provider is not None:
            return provider.handle(incoming._replace(path=f"/{rest}"), now)
        if name in ("v1", "v1beta") and len(self.providers) == 1:
            return next(iter(self.providers.values())).handle(incoming, now)
        return _say(404, {"error": f"no provider {name!r} here", "providers": sorted(self.providers), "own": sorted(OWN)})

    def report(self, now: float) -> dict[str, Any]:
        """The statistics of every provider, as JSON values."""
        return {"late": round(self.late, 3), "providers": {name: provider.report(now) for name, provider in self.providers.items()}}

    def forget(self, now: float) -> None:
        self.late = 0.0
        for provider in self.providers.values():
            provider.forget(now)

    def control(self, order: Mapping[str, Any]) -> None:
        """Execute a control order. Raises ConfigurationError that names what is wrong.

        `provider` names the provider, all of them by default; `dies` (true, or a fault such as {"kind": "status",
        "status": 503}) and `recovers` start and end an outage; every other field is a new value for a field of
        `ProviderConfig`.
        """
        fields = {name: value for name, value in order.items() if name not in ("provider", "dies", "recovers")}
        for provider in self._addressed(order.get("provider")):
            if fields:
                provider.change(**fields)
            if order.get("recovers"):
                provider.recovers()
            if order.get("dies"):
                provider.dies(_deadly(order["dies"]))

    def _addressed(self, name: object) -> list[Provider]:
        if name is None:
            return list(self.providers.values())
        provider = self.providers.get(name) if isinstance(name, str) else None
        if provider is None:
            raise ConfigurationError(f"provider: {name!r} is not one of {', '.join(sorted(self.providers))}")
        return [provider]

    def _own(self, incoming: Incoming, now: float) -> Exchange:
        if incoming.method != OWN[incoming.path]:
            return _say(405, {"error": f"{incoming.path} must be requested with {OWN[incoming.path]}"})
        if incoming.path == "/stats":
            return _say(200, self.report(now))
        if incoming.path == "/stats/reset":
            self.forget(now)
        elif incoming.path == "/control":
            try:
                order = msgspec.json.decode(incoming.body, type=dict[str, Any])
                self.control(order)
            except (msgspec.DecodeError, ConfigurationError) as error:
                return _say(400, {"error": str(error)})
        return _say(200, {"ok": True})


def _deadly(given: Any) -> Any:
    if given is True:
        return None
    try:
        return make_fault(**given)
    except (BadFault, TypeError) as error:
        raise ConfigurationError(f"dies: {error}") from None


def _say(status: int, content: Mapping[str, Any]) -> Exchange:
    return Exchange(status, JSON, body=msgspec.json.encode(content))
