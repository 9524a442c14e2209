"""Reads the `config.yaml` of LiteLLM's proxy, as far as a Router needs it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from msgspec import Struct

from headrace.calls import shape
from headrace.config_file import read_file
from headrace.errors import ConfigurationError

FOR_CALLS: Final[Mapping[str, str]] = {
    "num_retries": "num_retries", "request_timeout": "timeout", "allowed_fails": "allowed_fails", "cooldown_time": "cooldown_time",
    "fallbacks": "fallbacks", "context_window_fallbacks": "context_window_fallbacks", "default_fallbacks": "default_fallbacks",
    "content_policy_fallbacks": "content_policy_fallbacks", "tag_budget_config": "tag_budget_config",
}  # fmt: skip
"""Entries of `litellm_settings` that are parameters of a Router, and their names there."""

FOR_EVERY_CALL: Final = ("drop_params", "api_key", "api_base", "api_version", "headers", "organization")
"""Entries of `litellm_settings` that are defaults for deployments."""

SECTIONS: Final = frozenset({
    "model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables", "include", "credential_list",
})  # fmt: skip

GATEWAYS: Final = frozenset({
    "callback_settings", "guardrails", "policies", "policy_attachments", "prompts", "mcp_servers", "mcp_tools",
    "search_tools", "sandbox_tools", "vector_store_registry", "agents", "agent_list", "files_settings", "finetune_settings",
    "assistant_settings", "default_vertex_config", "pass_through_endpoints", "plugins", "worker_registry", "general_settings",
})  # fmt: skip
"""LiteLLM's sections that only concern a gateway."""

_log: Final = logging.getLogger("headrace")


class ProxyConfig(Struct, frozen=True):
    """What a configuration file says about calls."""

    model_list: list[Any]
    options: dict[str, Any]
    """Parameters of a Router."""
    left_out: tuple[str, ...]
    """Paths of the settings that only concern a gateway."""


def read_proxy_config(path: str | Path, environment: MutableMapping[str, str] | None = None) -> ProxyConfig:
    """Read a .yaml, .json or .toml file in LiteLLM's format, with the files it includes.

    environment: where `environment_variables` are set, as LiteLLM does; the process's own by default.
    Raises ConfigurationError that names the file and any unknown section.
    """
    path = Path(path)
    environment = os.environ if environment is None else environment
    content = _included(path, _mapping(read_file(path), str(path)), ())
    if unknown := sorted(set(content) - SECTIONS - GATEWAYS):
        raise ConfigurationError(f"{path}: unknown section {', '.join(map(repr, unknown))}; known: {', '.join(sorted(SECTIONS))}")
    for name, value in _mapping(content.get("environment_variables") or {}, f"{path}: environment_variables").items():
        environment[name] = str(_resolved(value, environment))
    settings = _mapping(content.get("litellm_settings") or {}, f"{path}: litellm_settings")
    options = {FOR_CALLS[name]: value for name, value in settings.items() if name in FOR_CALLS}
    standing = {name: value for name, value in settings.items() if name in FOR_EVERY_CALL}
    options |= {"default_litellm_params": standing} if standing else {}
    options |= _mapping(content.get("router_settings") or {}, f"{path}: router_settings")
    besides = [f"litellm_settings.{name}" for name in settings if name not in FOR_CALLS and name not in FOR_EVERY_CALL]
    besides += [name for name in content if name in GATEWAYS]
    entries = content.get("model_list")
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError(f"{path}: model_list must be a list of at least one deployment, got {shape(entries)}")
    credentials = read_credentials(content.get("credential_list"))
    entries = [with_credentials(entry, credentials, f"model_list[{number}]") for number, entry in enumerate(entries)]
    return ProxyConfig(entries, {name: _resolved(value, environment) for name, value in options.items()}, tuple(besides))


Credentials: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Named sets of parameters that deployments share, such as keys and base URLs."""


def read_credentials(given: Any) -> Credentials:
    """The section `credential_list`. Raises ConfigurationError."""
    if not isinstance(given, list | None):
        raise ConfigurationError(f"credential_list must be a list of credentials, got {shape(given)}")
    found: dict[str, Mapping[str, Any]] = {}
    for number, entry in enumerate(given or ()):
        where = f"credential_list[{number}]"
        fields = _mapping(entry, where)
        name = fields.get("credential_name")
        if not isinstance(name, str) or not name or name in found:
            raise ConfigurationError(f"{where}.credential_name must be a unique name, got {shape(name)}")
        found[name] = _mapping(fields.get("credential_values"), f"{where}.credential_values")
    return found


def with_credentials(entry: Any, credentials: Credentials, where: str) -> Any:
    """An entry of a model_list with its `litellm_credential_name` replaced by that credential's values. Its own values
    take precedence.

    Raises ConfigurationError for an unknown name.
    """
    params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping) or (name := params.get("litellm_credential_name")) is None:
        return entry
    if name not in credentials:
        known = ", ".join(map(repr, credentials)) or "nothing"
        raise ConfigurationError(f"{where}.litellm_params.litellm_credential_name: credential_list has {known}, not {name!r}")
    own = {field: value for field, value in params.items() if field != "litellm_credential_name"}
    return {**entry, "litellm_params": {**credentials[name], **own}}


def tell_left_out(path: str | Path, config: ProxyConfig) -> None:
    """Log the settings of the file that have no effect on a Router."""
    if config.left_out:
        _log.warning("%s: a Router ignores %s", path, ", ".join(config.left_out))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where} must be a mapping, got {shape(value)}")
    return dict(value)


def _included(path: Path, content: dict[str, Any], above: tuple[Path, ...]) -> dict[str, Any]:
    """`content` merged with the files in `include`: lists are concatenated, mappings merged, and otherwise the file itself wins."""
    if path.resolve() in above:
        raise ConfigurationError(f"{path}: the files include one another in a cycle")
    for name in content.pop("include", None) or ():
        other = path.parent / str(name)
        found = _included(other, _mapping(read_file(other), str(other)), (*above, path.resolve()))
        for section, value in found.items():
            content[section] = _joined(content.get(section), value)
    return content


def _joined(own: Any, other: Any) -> Any:
    if isinstance(own, list) and isinstance(other, list):
        return own + other
    if isinstance(own, Mapping) and isinstance(other, Mapping):
        return {**other, **own}
    return other if own is None else own


def _resolved(value: Any, environment: Mapping[str, str]) -> Any:
    """Replace `os.environ/NAME` with the variable's value. Those of deployments are left to the Router."""
    if isinstance(value, str) and value.startswith("os.environ/"):
        name = value.removeprefix("os.environ/")
        if name not in environment:
            raise ConfigurationError(f"the environment variable {name}, which the configuration refers to, is not set")
        return environment[name]
    if isinstance(value, Mapping):
        return {name: _resolved(inner, environment) for name, inner in value.items()}
    return [_resolved(inner, environment) for inner in value] if isinstance(value, list) else value
