"""The simulator's configuration, loaded from TOML, JSON or a dict. Errors name the field."""

from __future__ import annotations

import math
import random
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from headrace.errors import ConfigurationError
from headrace.simulator.enforce import Accounting, Rule, Shape
from headrace.simulator.faults import BadFault, FaultRule, Kind, make_fault

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

RESERVED_NAMES: Final = ("stats", "control", "health")
"""First path segments reserved for the simulator itself."""


class Lognormal(Struct, frozen=True, forbid_unknown_fields=True):
    """A lognormal distribution: half of all draws lie below `median`, two thirds between median / e**sigma and median * e**sigma."""

    median: Positive
    sigma: NotNegative = 0.5

    def draw(self, rng: random.Random) -> float:
        return rng.lognormvariate(math.log(self.median), self.sigma)


class FaultConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault by rule; the fields are those of `faults.Fault` and `faults.FaultRule`."""

    kind: Kind
    status: int | None = None
    after: int = 2
    factor: float = 10.0
    bytes: int = 100 * 1024 * 1024
    retry_after: float | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    every: Count = 1
    since: NotNegative = 0.0
    until: NotNegative | None = None
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            self.rule()
        except BadFault as error:
            raise ValueError(str(error)) from None

    def rule(self) -> FaultRule:
        given = {} if self.status is None else {"status": self.status}
        fault = make_fault(self.kind, after=self.after, factor=self.factor, bytes=self.bytes, retry_after=self.retry_after, **given)
        until = math.inf if self.until is None else self.until
        return FaultRule(fault, self.probability, self.every, self.since, until, self.models)


class ProviderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider: its models, keys, limits, speed and faults."""

    name: Name
    models: Annotated[tuple[str, ...], Meta(min_length=1)] = ("gpt-sim", "embed-sim")
    dialect: Literal["openai"] = "openai"
    port: Port | None = None
    """A port of its own; without one, the provider is under /NAME on the common port."""
    api_keys: tuple[str, ...] = ()
    """Accepted API keys; empty means any caller is accepted."""
    secret_keys: dict[str, str] = {}
    """AWS secret keys by access key. S3 signatures are recomputed for keys listed here."""
    buckets: tuple[str, ...] = ()
    """Existing buckets; empty means that every bucket exists."""

    rpm: Positive | None = None
    tpm: Positive | None = None
    itpm: Positive | None = None
    otpm: Positive | None = None
    rpd: Positive | None = None
    tpd: Positive | None = None
    enforcer: Shape = "bucket"
    burst: Positive = 60.0
    """Capacity of a token bucket, in seconds of a per-minute limit."""
    phase: float = 0.0
    """Offset of fixed windows, in seconds after the simulator's start."""
    windows: tuple[Positive, ...] = ()
    """Further windows, in seconds, over which `rpm` is enforced too: 600 RPM over 1 s is 10 requests."""
    windows_enforcer: Literal["fixed", "sliding"] = "sliding"
    concurrency: Count | None = None
    accounting: Accounting = "reserve"
    estimate: Literal["sum", "max"] = "sum"
    """What a request reserves: prompt plus max_tokens, or the larger of the two as OpenAI documents."""
    count_failed: bool = False
    """Whether refused and failed requests count against the limits."""
    limits_per: Literal["provider", "key", "model", "key+model"] = "provider"
    header_style: Literal["openai", "none"] = "openai"
    retry_after: Literal["both", "seconds", "none"] = "both"

    context_window: Count = 128_000
    max_output_tokens: Count = 16_384
    assumed_output_tokens: Count = 256
    """Output tokens reserved for a request without max_tokens."""
    dimensions: Count = 1_536
    ttft: Lognormal | float = Lognormal(0.3, 0.4)
    """Seconds to the first token."""
    gap: Lognormal | float = Lognormal(0.012, 0.3)
    """Seconds between tokens, drawn once per request."""
    output_tokens: Lognormal | float = Lognormal(120, 0.8)
    """Output tokens of a text response, before max_tokens truncates it."""
    reasoning_tokens: Lognormal | float = 0.0
    """Reasoning tokens before a response, for requests with reasoning_effort other than none."""
    reasoning_content: bool = False
    """Whether reasoning is included in responses, as by DeepSeek."""
    chunk_tokens: Count = 1
    """Tokens per stream chunk."""
    extra_params: tuple[str, ...] = ()
    """Accepted parameters beyond OpenAI's."""
    faults: tuple[FaultConfig, ...] = ()

    def __post_init__(self) -> None:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"name {self.name!r} is a path of the simulator itself; choose another")
        for field in ("ttft", "gap", "output_tokens", "reasoning_tokens"):
            value = getattr(self, field)
            if not isinstance(value, Lognormal) and not 0 <= value < math.inf:
                raise ValueError(f"{field} must be zero or more, not {value}")
        if self.windows and self.rpm is None:
            raise ValueError("windows divide rpm; give rpm as well")

    def __repr__(self) -> str:
        return f"<ProviderConfig {self.name} {len(self.models)} models, rpm {self.rpm}, tpm {self.tpm}, {self.enforcer}/{self.accounting}>"

    def rules(self, start: float = 0.0) -> tuple[Rule, ...]:
        """The limits for an enforcer, on a clock that read `start` when the simulator started."""
        phase = start + self.phase
        minute = (("requests", self.rpm), ("tokens", self.tpm), ("input_tokens", self.itpm), ("output_tokens", self.otpm))
        rules = [Rule(unit, amount, 60.0, self.enforcer, self.burst, phase) for unit, amount in minute if amount]  # type: ignore[arg-type]
        for window in self.windows:
            share = max(1, math.floor((self.rpm or 0) * window / 60 + 1e-9))
            rules.append(Rule("requests", share, window, self.windows_enforcer, phase=phase))
        day = (("requests", self.rpd), ("tokens", self.tpd))
        return (*rules, *(Rule(unit, amount, 86_400.0, "fixed", phase=phase) for unit, amount in day if amount))  # type: ignore[arg-type]


class SimulatorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The simulator: its address and its providers. Port 0 means any free port."""

    seed: int = 0
    host: str = "127.0.0.1"
    port: Port = 4010
    providers: Annotated[tuple[ProviderConfig, ...], Meta(min_length=1)] = (ProviderConfig(name="sim"),)

    def __post_init__(self) -> None:
        names = [provider.name for provider in self.providers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"providers: the name {twice[0]!r} is used twice")
        ports = [provider.port for provider in self.providers if provider.port] + [self.port]
        if len(set(filter(None, ports))) < len(list(filter(None, ports))):
            raise ValueError("providers: two of them, or one and the simulator, have the same port")

    def provider(self, name: str) -> ProviderConfig:
        return next(provider for provider in self.providers if provider.name == name)


def load(source: str | Path | Mapping[str, Any]) -> SimulatorConfig:
    """Load a .toml or .json file, or a mapping of the same shape. Raises ConfigurationError."""
    if isinstance(source, Mapping):
        return _convert(source, SimulatorConfig, "simulator")
    path = Path(source)
    try:
        text = path.read_bytes()
        content = tomllib.loads(text.decode()) if path.suffix == ".toml" else msgspec.json.decode(text)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise ConfigurationError(f"{path}: not valid {kind}: {error}") from None
    return _convert(content, SimulatorConfig, str(path))


def checked(config: SimulatorConfig) -> SimulatorConfig:
    """A configuration built in Python, validated like one from a file. Raises ConfigurationError."""
    return _convert(msgspec.to_builtins(config), SimulatorConfig, "simulator")


def provider_of(content: Mapping[str, Any], where: str) -> ProviderConfig:
    """One provider from a mapping. Raises ConfigurationError."""
    return _convert(content, ProviderConfig, where)


C = TypeVar("C")


def _convert(content: Any, kind: type[C], where: str) -> C:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        field = re.sub(r"^\$\.?", "", path.rstrip("`")) or "the whole"
        raise ConfigurationError(f"{where}: {field}: {text}") from None


def draw(spread: Lognormal | float, rng: random.Random) -> float:
    return spread.draw(rng) if isinstance(spread, Lognormal) else spread
