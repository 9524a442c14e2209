"""Runs the shipped Router against simulated providers in virtual time, and records the outcome of every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import HeadraceError
from headrace.ports import Ports
from headrace.routing.router import Router
from headrace.runtime.virtual import Cancelled, Task, World
from headrace.simulator.config import FaultConfig, ProviderConfig, SimulatorConfig
from headrace.simulator.virtual import VirtualProviders


@dataclass(frozen=True)
class VirtualWorlds:
    """Returns the scene's ports for every kind of call."""

    ports: Ports

    def suspending(self) -> Ports:
        return self.ports

    blocking = suspending

    def random(self) -> float:
        return 0.25


@dataclass
class Served:
    """One call as its caller saw it."""

    sent: float
    tenant: str = ""
    done: float | None = None
    by: str | None = None
    error: HeadraceError | None = None
    waited: float = 0.0
    left: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)


class Stage:
    """Simulated providers, a Router in front of them, and the calls made to it."""

    def __init__(self, *providers: ProviderConfig, seed: int = 1) -> None:
        self.world = World(seed=seed)
        self.providers = VirtualProviders(self.world, SimulatorConfig(seed=seed, providers=providers))
        self.log: list[Served] = []
        self.router: Router

    def deployment(self, provider: str, **params: Any) -> dict[str, Any]:
        """One entry of a model_list: the id is the provider's name."""
        return {
            "model_name": params.pop("group", "gpt"),
            "litellm_params": {"model": "openai/gpt-sim", "api_key": f"sk-{provider}", "base_url": self.providers.url(provider), **params},
            "model_info": {"id": provider},
        }

    def open(self, *deployments: dict[str, Any], **options: Any) -> Router:
        ports = self.world.ports(self.providers)
        self.router = Router(list(deployments), worlds=VirtualWorlds(ports), **options)
        return self.router

    async def call(self, served: Served, **options: Any) -> None:
        options = {"messages": [{"role": "user", "content": "Tell me of mills. " * 10}], "max_tokens": 100, **options}
        model = options.pop("model", "gpt")
        if served.tenant:
            options["tenant"] = served.tenant
        try:
            if options.get("stream"):
                stream = await self.router.acompletion(model, **options)
                hidden = stream._hidden_params
                async for _ in stream:
                    pass
            else:
                hidden = (await self.router.acompletion(model, **options))._hidden_params
            served.by, served.record = hidden["model_id"], hidden["headrace"]
            served.waited = served.record["waited"]
        except HeadraceError as error:
            served.error = error
        except Cancelled:
            served.left = True
            raise
        finally:
            served.done = self.world.now()

    def send(self, count: int = 1, *, tenant: str = "", **options: Any) -> list[Task[None]]:
        """`count` calls at once, now."""
        tasks = []
        for _ in range(count):
            served = Served(self.world.now(), tenant)
            self.log.append(served)
            tasks.append(self.world.spawn(self.call(served, **options)))
        return tasks

    def offer(self, rate: float, until: float, **options: Any) -> None:
        """Evenly `rate` calls a second from now until `until`."""
        start, number = self.world.now(), 0
        while (when := start + number / rate) < until:
            self.world.at(when, lambda: self.send(**options))
            number += 1

    def at(self, when: float, action: Callable[[], object]) -> None:
        self.world.at(when, action)

    def run(self, until: float | None = None) -> None:
        self.world.run(until)

    def rejected(self, provider: str | None = None) -> int:
        """Number of requests that providers refused because of their limits."""
        stats = self.providers.stats()
        return sum(sum(row["rejected"].values()) for name, row in stats.items() if provider in (None, name))

    def failed(self) -> list[Served]:
        return [served for served in self.log if served.error is not None]

    def by(self, provider: str, since: float = 0.0, until: float = float("inf")) -> int:
        """Calls sent between two times and answered by `provider`."""
        return sum(served.by == provider and since <= served.sent < until for served in self.log)

    def idle(self) -> bool:
        """Whether nothing is held: no reservation, no place in a queue, no request at a provider."""
        snapshot = self.router.snapshot()
        held = sum(member["in_flight"] for member in snapshot["deployments"].values()) + sum(snapshot["queues"].values())
        return held == 0 and all(row["in_flight"] == 0 for row in self.providers.stats().values())


def provider(name: str, **facts: Any) -> ProviderConfig:
    """A simulated provider that answers within a second unless told otherwise."""
    faults = tuple(FaultConfig(**fault) for fault in facts.pop("faults", ()))
    return ProviderConfig(name=name, faults=faults, **{"ttft": 0.2, "gap": 0.005, "output_tokens": 60.0, **facts})
