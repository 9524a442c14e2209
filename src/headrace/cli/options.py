"""The model to call: from `--model` and related options, else from the settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Final, Literal

import click

from headrace import api, destinations
from headrace.cli.terminal import hide
from headrace.dotenv import parse
from headrace.errors import ConfigurationError, HeadraceError
from headrace.objects import EmbeddingResponse, ModelResponse, ModelResponseStream
from headrace.providers.catalog import catalog, find_base_url, find_key, resolve
from headrace.settings import find_dotenv, settings
from headrace.streams import Stream

Group = Literal["LLM", "EMBEDDING"]

_OPTIONS: Final = (
    click.option("--model", "-m", metavar="PROVIDER/NAME", help="Model to call; by default the one in the settings."),
    click.option("--base-url", metavar="URL", help="Base URL to use instead of the provider's own."),
    click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="How long to wait for the answer."),
)


def calling(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--model`, `--base-url` and `--timeout`, passed to the command together as `target`."""

    @wraps(command)
    def packed(*, model: str | None, base_url: str | None, timeout: float | None, **others: Any) -> Any:
        return command(target={"model": model, "base_url": base_url, "timeout": timeout}, **others)

    for option in reversed(_OPTIONS):
        packed = option(packed)
    return packed


@dataclass(frozen=True, slots=True)
class Target:
    """A model, and the options and parameters of every call to it."""

    model: str
    group: Group
    given: Mapping[str, Any] = field(repr=False)
    """Command-line options, which also apply to another model."""
    control: Mapping[str, Any] = field(repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def provider(self) -> str:
        """The provider's name as given, before the first slash."""
        return self.model.partition("/")[0]

    def having(self, **parameters: Any) -> Target:
        """The target with these parameters added; None values are ignored."""
        return replace(self, parameters={**self.parameters, **{name: value for name, value in parameters.items() if value is not None}})

    def at(self, model: str) -> Target:
        """The target for another model. `--base-url` is kept within the same provider.

        Raises HeadraceError if there is no such provider, or no key for it.
        """
        prefix, slash, _ = model.partition("/")
        given = {**self.given, "model": model if slash else f"{self.provider}/{model}"}
        if slash and prefix != self.provider and catalog().get(prefix):
            given["base_url"] = None
        other = replace(_target(self.group, **given), parameters=self.parameters)
        other.destination()
        return other

    def complete(self, messages: Sequence[Any]) -> ModelResponse:
        return api.completion(self.model, messages, stream=False, **self.control, **self.parameters)

    def stream(self, messages: Sequence[Any]) -> Stream[ModelResponseStream]:
        return api.completion(self.model, messages, stream=True, **self.control, **self.parameters)

    def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        return api.embedding(self.model, texts, **self.control, **self.parameters)

    def destination(self) -> destinations.Destination:
        return destinations.destination(self.model, self.control)


def chat_target(*, model: str | None, base_url: str | None, timeout: float | None) -> Target:
    """The named model, else LLM_PROVIDER and LLM_MODEL. Raises HeadraceError."""
    return _target("LLM", model=model, base_url=base_url, timeout=timeout)


def embedding_target(*, model: str | None, base_url: str | None, timeout: float | None) -> Target:
    """The named model, else EMBEDDING_PROVIDER and EMBEDDING_MODEL. Raises HeadraceError."""
    return _target("EMBEDDING", model=model, base_url=base_url, timeout=timeout)


def dotenv() -> dict[str, str]:
    """The variables in the nearest `.env`. Raises ConfigurationError if it cannot be read."""
    file = find_dotenv()
    if file is None:
        return {}
    try:
        return parse(file.read_text("utf-8"), where=str(file))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} cannot be read: it is not UTF-8") from None  # the original error would repeat the bytes


def _target(group: Group, *, model: str | None, base_url: str | None, timeout: float | None) -> Target:
    given = {"model": model, "base_url": base_url, "timeout": timeout}
    values = settings.values()
    configured = values.get(f"{group}_PROVIDER")
    name = _named(model, configured) or f"{_needed(values, group, 'PROVIDER')}/{_needed(values, group, 'MODEL')}"
    control: dict[str, Any] = {"base_url": base_url, "timeout": timeout}
    if base_url is None and configured and name.startswith(f"{configured}/"):
        control |= {"base_url": values.get(f"{group}_PROVIDER_BASE_URL"), "api_key": values.get(f"{group}_PROVIDER_API_KEY")}
    control = {option: value for option, value in control.items() if value is not None}
    control = {**own_variables(name, control), **control}
    hide(control.get("api_key"))
    return Target(name, group, given, control)


def _named(model: str | None, configured: str | None) -> str | None:
    """The model's full name. A name without a known provider prefix belongs to the configured provider."""
    if model is None or configured is None:
        return model
    prefix, slash, _ = model.partition("/")
    return model if slash and catalog().get(prefix) else f"{configured}/{model}"


def _needed(values: Mapping[str, Any], group: Group, what: str) -> str:
    name = f"{group}_{what}"
    if name not in values:
        raise click.UsageError(
            f"which model? give --model provider/name, or set {name}: {settings.missing(name)}", click.get_current_context(silent=True)
        )
    return str(values[name])


def own_variables(model: str, control: Mapping[str, Any]) -> dict[str, Any]:
    """Key and base URL that only `.env` sets, in the provider's own variables; the call itself reads those of the environment."""
    try:
        provider = resolve(model, base_url=control.get("base_url")).provider
    except HeadraceError:
        return {}  # the call itself will report the unknown name
    hide(find_key(provider, os.environ))
    file = dotenv()
    found: dict[str, Any] = {}
    if control.get("api_key") is None and not find_key(provider, os.environ):
        found["api_key"] = find_key(provider, file)
    if control.get("base_url") is None and not find_base_url(provider, os.environ):
        found["base_url"] = find_base_url(provider, file)
    return {name: value for name, value in found.items() if value}
