"""litellm's parameters that are not supported: each is refused by name, with what to use instead.

None is accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from headrace.errors import ConfigurationError

ROUTERS: Final[Mapping[str, str]] = {
    "assistants_config": "threads and assistants are not supported; use responses",
    "search_tools": "search is not supported; give the model a web search tool",
    "plugins": "give routing_strategy a function instead",
    "alerting_config": "give on_event a function, or read the log and the metrics",
    "auto_router_capability_limit": "models are not chosen automatically; give routing_strategy a function",
    "lar1": "models are not chosen automatically; give routing_strategy a function",
    "guardrail_list": "guardrails are layers around all calls, not part of a Router; see headrace.layers.guardrails",
    "weights": "give each deployment its weight",
    "client_ttl": "leave it out; connections are kept open as long as they work",
    "polling_interval": "leave it out; waiting calls are woken, there is no polling",
}
"""Parameters of a Router."""

SAME: Final[Mapping[str, tuple[Any, ...]]] = {"client_ttl": (3600,), "polling_interval": (0.003,)}
"""litellm's own defaults of some of them, which have no effect and are accepted."""

DEPLOYMENTS: Final[Mapping[str, str]] = {
    "litellm_credential_name": "give the deployment its api_key (os.environ/NAME stands for a variable)",
    "default_api_key_tpm_limit": "limit keys by Router.add_scope and scopes, or in the gateway",
    "default_api_key_rpm_limit": "limit keys by Router.add_scope and scopes, or in the gateway",
    "configurable_clientside_auth_params": "leave it out; a call may always bring its own api_key and base_url",
    "provider_affinity_header": "use optional_pre_call_checks=['session_affinity'] and session_id",
    "use_litellm_proxy": "configure the proxy like any other provider: model 'openai/…' with its base_url",
    "use_chat_completions_api": "leave it out; name the model 'openai/…', which is called by Chat Completions",
    "merge_reasoning_content_in_choices": "read reasoning_content, which is next to content",
    "keepalive_seconds": "the gateway always sends keep-alives",
    "allow_client_keepalive_override": "the gateway always sends keep-alives",
    "max_file_size_mb": "limit sizes in the gateway's settings",
    "use_xai_oauth": "give the deployment its api_key",
    "fireworks_forward_user_id": "give `user` with the call",
    "vector_store_id": "vector stores are not supported",
}
"""Parameters in a deployment's `litellm_params`."""

_FAMILIES: Final[Mapping[str, str]] = {
    "auto_router_": "models are not chosen automatically; give routing_strategy a function",
    "complexity_router_": "models are not chosen automatically; give routing_strategy a function",
    "adaptive_router_": "models are not chosen automatically; give routing_strategy a function",
    "quality_router_": "models are not chosen automatically; give routing_strategy a function",
    "milvus_": "vector stores are not supported",
    "valkey_": "limits and cached responses are shared through the Router's redis_url and cache",
}

_CLOUDS: Final = ("aws_", "azure_", "vertex_")
"""Prefixes of cloud credentials. An unknown one must not be sent to the provider in the request body."""

INFO: Final[Mapping[str, str]] = {
    "access_windows": "hours of access are not supported; add and delete the deployment instead",
    "team_public_model_name": "make it the deployment's model_name, and give team_id in model_info",
    "internal_router_model": "models are not chosen automatically",
    "allow_fail_open": "tags always apply; tag a deployment 'default' to serve all other calls",
    "enable_tag_filtering": "give it to the Router, for all groups",
}
"""Fields of a deployment's `model_info`, which otherwise may contain any notes."""


INSTEAD: Final[tuple[tuple[str, str], ...]] = (
    ("guardrail", "guardrails are layers around all calls, not part of a Router; see headrace.layers.guardrails"),
    ("fine_tuning", "fine-tuning is not supported; use the provider's own SDK"),
    ("vector_store", "vector stores are not supported; use the provider's own SDK"),
    ("video", "videos are not supported; use the provider's own SDK"),
    ("container", "containers are not supported; use the provider's own SDK"),
    ("skill", "skills are not supported; use the provider's own SDK"),
    ("interaction", "interactions are not supported; use generate_content"),
    ("agent", "agents are not supported; use the provider's own SDK"),
    ("assistant", "threads and assistants are not supported; use responses"),
    ("thread", "threads and assistants are not supported; use responses"),
    ("message", "threads and assistants are not supported; use responses"),
    ("search", "search is not supported; give the model a web search tool"),
    ("realtime", "the gateway has /v1/realtime for a Router's deployments"),
    ("passthrough", "use the gateway's pass-through endpoints"),
    ("adapter", "use anthropic_messages or generate_content"),
    ("function_with", "retries and fallbacks are the Router's own, in every call"),
    ("callback", "give on_event a function"),
    ("plugin", "give routing_strategy a function"),
    ("_router_deployment", "models are not chosen automatically; give routing_strategy a function"),
)
"""What to use instead of litellm's Router methods and functions, by a part of their names."""


def missing(name: str) -> str:
    """The error message for an attribute that a Router does not have."""
    instead = "" if name.startswith("_") else next((f": {use}" for part, use in INSTEAD if part in name), "")
    return f"Router has no {name!r}{instead}"


def check_router(options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ConfigurationError for the first unsupported parameter, with what to use instead or what was probably meant."""
    known = frozenset(known)
    for name, value in options.items():
        if name in known or (name in ROUTERS and (not value or value in SAME.get(name, ()))):
            continue
        if name in ROUTERS:
            raise ConfigurationError(f"Router has no {name}: {ROUTERS[name]}")
        raise ConfigurationError(f"Router has no parameter {name!r}{_meant(name, known)}")


def check_deployment(params: Mapping[str, Any], info: Mapping[str, Any], where: str, known: Iterable[str]) -> None:
    """Raises ConfigurationError for the first unsupported parameter of a model_list entry."""
    for name in [name for name, value in params.items() if value]:
        family = next((begins for begins in _FAMILIES if name.startswith(begins)), None)
        if name in DEPLOYMENTS or family is not None:
            raise ConfigurationError(f"{where}.litellm_params.{name} is not supported: {DEPLOYMENTS.get(name) or _FAMILIES[family or '']}")
        if name.startswith(_CLOUDS) and name not in known:
            raise ConfigurationError(f"{where}.litellm_params.{name} is not a known credential{_meant(name, known)}")
    for name in [name for name, value in info.items() if value and name in INFO]:
        raise ConfigurationError(f"{where}.model_info.{name} is not supported: {INFO[name]}")


def _meant(name: str, known: Iterable[str]) -> str:
    import difflib  # late: only for a message

    close = next(iter(difflib.get_close_matches(name, list(known), 1)), None)
    return f"; did you mean {close!r}?" if close else ""
