"""From LiteLLM's config.yaml, or from nothing but the environment, to a Router and the gateway's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from headrace.api import Router
from headrace.calls import shape
from headrace.config_file import read_file
from headrace.errors import ConfigurationError
from headrace.gateway.guard import is_loopback

MASTER_KEY: Final = "HEADRACE_MASTER_KEY"
_SECTIONS: Final = ("model_list", "router_settings", "litellm_settings", "general_settings")
_FOR_ROUTER: Final[Mapping[str, str]] = {
    "num_retries": "num_retries", "request_timeout": "timeout", "fallbacks": "fallbacks", "default_fallbacks": "default_fallbacks",
    "context_window_fallbacks": "context_window_fallbacks", "content_policy_fallbacks": "content_policy_fallbacks",
    "allowed_fails": "allowed_fails", "cooldown_time": "cooldown_time",
}  # fmt: skip
"""`litellm_settings` that are a Router's parameters, under its names."""

MAX_BODY: Final = 32 << 20
MAX_UPLOAD: Final = 512 << 20  # OpenAI's own bound for a file, platform.openai.com/docs/api-reference/files, from memory


class Settings(Struct, frozen=True):
    """The gateway's own."""

    key: str = ""
    """The master key; empty: only this machine may call."""
    max_body: int = MAX_BODY
    """Bytes."""
    max_upload: int = MAX_UPLOAD
    """The same for a form with files."""
    keep_alive: float = 10.0
    """Seconds that a stream's caller hears nothing before it is told that the call still waits."""

    def __repr__(self) -> str:
        return f"<Settings {'with' if self.key else 'without'} a key, bodies up to {self.max_body} bytes>"


class Config(Struct, frozen=True, eq=False):
    router: Router
    settings: Settings
    unused: tuple[str, ...] = ()
    """Settings of the file that change nothing here."""


def read_config(path: Path | None, environment: Mapping[str, str]) -> Config:
    """The configuration of a file; without one the models of the environment and `.env`. Raises ConfigurationError."""
    if path is None:
        return Config(Router.from_env(), Settings(key=environment.get(MASTER_KEY, "")))
    content = read_file(path)
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{path} must hold a mapping with model_list, got {shape(content)}")
    try:
        return _read(content, environment)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _read(content: Mapping[str, Any], environment: Mapping[str, str]) -> Config:
    general, library = _section(content, "general_settings"), _section(content, "litellm_settings")
    models = content.get("model_list")
    if not isinstance(models, list) or not models:
        raise ConfigurationError(f"model_list must be a list of at least one deployment, got {shape(models)}")
    options = {theirs: library[name] for name, theirs in _FOR_ROUTER.items() if name in library} | _section(content, "router_settings")
    if "drop_params" in library:
        options["default_litellm_params"] = {"drop_params": library["drop_params"], **options.get("default_litellm_params", {})}
    unused = [name for name in content if name not in _SECTIONS]
    unused += [f"litellm_settings.{name}" for name in library if name not in _FOR_ROUTER and name != "drop_params"]
    unused += [f"general_settings.{name}" for name in general if name != "master_key"]
    return Config(Router(models, **options), Settings(key=_key(general, environment)), tuple(unused))


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = content.get(name) or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{name} must be a mapping, got {shape(given)}")
    return dict(given)


def _key(general: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The file's key, else the environment's. A key that is named and not there must not leave the door open."""
    given = general.get("master_key")
    if given is None:
        return environment.get(MASTER_KEY, "")
    if not isinstance(given, str) or not given:
        raise ConfigurationError(f"general_settings.master_key must be a key or os.environ/NAME, got {shape(given)}")
    name = given.removeprefix("os.environ/")
    if name == given:
        return given
    if not environment.get(name):
        raise ConfigurationError(f"general_settings.master_key: the environment variable {name} is not set")
    return environment[name]


def check_address(host: str, settings: Settings) -> None:
    """Raises ConfigurationError for an address that strangers reach while there is no key."""
    if not settings.key and not is_loopback(host):
        raise ConfigurationError(
            f"listening on {host} needs a master key: set general_settings.master_key or {MASTER_KEY}, or listen on 127.0.0.1"
        )
