"""The demo's deployments: three simulated ones with unequal limits and one that fails, or the configured provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.text import Text

from headrace.cli.demo_jobs import Tally
from headrace.cli.demo_view import Gauge, Lane
from headrace.cli.terminal import pretty
from headrace.simulator.config import FaultConfig, Lognormal, ProviderConfig, SimulatorConfig

GROUP: Final = "demo"

LIMITS: Final = (
    # requests and tokens per minute
    ("north", 100, 60_000, False),
    ("east", 300, 30_000, False),
    ("west", 60, 20_000, False),
    ("south", 120, 40_000, True),
)
"""Unequal on purpose: north has tokens to spare, east requests. South accepts every call and fails it."""


@dataclass(frozen=True, slots=True)
class Place:
    """One deployment of the demo."""

    name: str
    rpm: float | None
    tpm: float | None
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """The deployments, and the configuration by which a Router and the example programs find them."""

    group: str
    places: Sequence[Place]
    entries: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """The model_list of a real provider; empty for simulated ones."""
    haste: float = 1.0
    """Speed-up of the simulated deployments' responses."""

    @property
    def simulated(self) -> bool:
        return not self.entries

    @property
    def failing(self) -> list[str]:
        return [place.name for place in self.places if place.fails]

    @property
    def simulator(self) -> SimulatorConfig:
        return SimulatorConfig(port=0, providers=tuple(_provider(place, self.haste) for place in self.places))

    def per_minute(self) -> dict[str, dict[str, float]]:
        """The limits of the working deployments, by unit."""
        return {
            place.name: {unit: amount for unit, amount in (("requests", place.rpm), ("tokens", place.tpm)) if amount}
            for place in self.places
            if not place.fails
        }

    def model_list(self, base: str) -> list[Mapping[str, Any]]:
        """The Router's model list; `base` is the simulator's URL."""
        return list(self.entries) or [_entry(place, base) for place in self.places]

    def environment(self, base: str) -> dict[str, str]:
        """Environment variables that point the example programs at the first simulated deployment."""
        place = self.places[0]
        common = {"PROVIDER": "openai", "PROVIDER_BASE_URL": f"{base}/{place.name}/v1", "PROVIDER_API_KEY": key_of(place)}
        limits = {"TPM": f"{place.tpm:.0f}", "RPM": f"{place.rpm:.0f}"}
        return {
            f"{group}_{name}": value
            for group, model in (("LLM", "gpt-sim"), ("EMBEDDING", "embed-sim"))
            for name, value in {**common, **limits, "MODEL": model}.items()
        }

    def described(self) -> list[tuple[Any, ...]]:
        return [(place.name, _amount(place.rpm), _amount(place.tpm), _state(place)) for place in self.places]


def simulated_scene(scale: float) -> Scene:
    """The simulated deployments, with limits and speed multiplied by `scale`."""
    return Scene(GROUP, [Place(name, rpm * scale, tpm * scale, fails) for name, rpm, tpm, fails in LIMITS], haste=scale)


def real_scene(entries: Sequence[Mapping[str, Any]]) -> Scene:
    """The configured chat model: the first entry of the settings' model_list."""
    first = entries[0]
    params = first["litellm_params"]
    return Scene(first["model_name"], [Place(first["model_name"], params.get("rpm"), params.get("tpm"))], entries[:1])


def key_of(place: Place) -> str:
    return f"sk-simulated-{place.name}"


def _provider(place: Place, haste: float) -> ProviderConfig:
    faults = (FaultConfig(kind="status", status=500),) if place.fails else ()
    return ProviderConfig(
        name=place.name,
        api_keys=(key_of(place),),
        rpm=place.rpm,
        tpm=place.tpm,
        enforcer="sliding",
        ttft=Lognormal(0.25 / haste, 0.4),
        gap=Lognormal(0.006 / haste, 0.3),
        faults=faults,
    )


def _entry(place: Place, base: str) -> dict[str, Any]:
    return {
        "model_name": GROUP,
        "litellm_params": {
            "model": "openai/gpt-sim",
            "base_url": f"{base}/{place.name}/v1",
            "api_key": key_of(place),
            "rpm": int(place.rpm or 0),
            "tpm": int(place.tpm or 0),
        },
        "model_info": {"id": place.name},
    }


def _amount(amount: float | None) -> str:
    return "no limit" if amount is None else f"{amount:,.0f}" if pretty() else f"{amount:.0f}"


def _state(place: Place) -> Text:
    return Text("accepts every call and fails it", style="yellow") if place.fails else Text("")


# ---- live view -------------------------------------------------------------------------------------------------------

UNITS: Final = {"rpm": "requests", "tpm": "tokens"}


def lanes(scene: Scene, snapshot: Mapping[str, Any], tally: Tally) -> list[Lane]:
    """The scene's deployments, from `Router.snapshot()`."""
    order = {place.name: number for number, place in enumerate(scene.places)}
    shown_ids = sorted(snapshot["deployments"].items(), key=lambda item: order.get(item[0], len(order)))
    return [
        Lane(
            name=id if id in order else scene.group,
            gauges=[Gauge(UNITS[name], limit["used"], limit["limit"]) for name, limit in shown["limits"].items() if name in UNITS],
            in_flight=shown["in_flight"],
            done=tally.done_by[id],
            resting=shown["held"] if id in scene.failing else 0.0,
        )
        for id, shown in shown_ids
    ]
