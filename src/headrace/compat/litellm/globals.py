"""litellm's settings: module attributes, read at every call, so that they may be set at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final

_NONE: Callable[[], Any] = lambda: None  # noqa: E731  # a table of factories
_FALSE: Callable[[], Any] = lambda: False  # noqa: E731

_LISTS: Final = (
    "callbacks", "success_callback", "failure_callback", "input_callback", "service_callback", "_async_success_callback",
    "_async_failure_callback", "_async_input_callback", "custom_provider_map",
)  # fmt: skip

_NOTHING: Final = (
    "api_base", "api_key", "api_version", "organization", "headers", "num_retries", "cache", "max_budget", "model_fallbacks",
    "openai_key", "anthropic_key", "azure_key", "cohere_key", "replicate_key", "huggingface_key", "openrouter_key", "groq_key",
    "vertex_project", "vertex_location", "client_session", "aclient_session", "default_fallbacks", "allowed_fails", "project",
    "fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "budget_duration",
)  # fmt: skip

_OFF: Final = (
    "drop_params", "modify_params", "set_verbose", "suppress_debug_info", "use_litellm_proxy", "enable_json_schema_validation",
    "turn_off_message_logging", "add_function_to_prompt", "use_client", "disable_aiohttp_transport", "telemetry", "verbose",
    "log_raw_request_response", "return_response_headers", "caching", "caching_with_models",
)  # fmt: skip

DEFAULTS: Final[dict[str, Callable[[], Any]]] = {
    **dict.fromkeys(_LISTS, list),
    **dict.fromkeys(_NOTHING, _NONE),
    **dict.fromkeys(_OFF, _FALSE),
    "model_alias_map": dict,
    "request_timeout": _NONE,
    "ssl_verify": lambda: True,
    "_current_cost": lambda: 0.0,
    "REPEATED_STREAMING_CHUNK_LIMIT": lambda: 100,
    "model_cost_map_url": lambda: "",
}
"""Factories of default values."""


WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "service_callback": "headrace uses none of the services that litellm reports on: see headrace.layers.metrics",
    "log_raw_request_response": "log requests with a Tracing(content=True), or at the provider",
    "use_client": "headrace reports to no server",
    "caching_with_models": "a cache always keeps models apart",
    "budget_duration": "litellm.max_budget has no period; use a Router's max_budget and budget_duration",
    "project": "give organization, or the header openai-project in litellm.headers",
    "credential_list": "give each deployment its own credentials",
    "tag_budget_config": "give a Router scopes with max_budget (add_scope)",
    "provider_budget_config": "give a Router scopes with max_budget (add_scope)",
    "secret_manager_client": "fetch secrets before you create the Router",
    "post_call_rules": "use a guardrail (headrace.layers.guardrails)",
    "pre_call_rules": "use a guardrail (headrace.layers.guardrails)",
    "default_in_memory_ttl": "give litellm.Cache its ttl",
    "default_redis_ttl": "give litellm.Cache its ttl",
}
"""litellm settings without effect here, and what to use instead. Setting one logs a warning, once."""

QUIET: Final[Mapping[str, str]] = {
    "telemetry": "there is none", "suppress_debug_info": "nothing is printed", "verbose": "see set_verbose", "disable_aiohttp_transport":
    "the transport is headrace's own", "add_function_to_prompt": "tools go to every provider as tools",
    "return_response_headers": "they are always there, in _response_headers", "REPEATED_STREAMING_CHUNK_LIMIT": "a model may repeat itself",
    "model_cost_map_url": "prices come with headrace; nothing is fetched",
}  # fmt: skip
"""Settings without effect that need no warning: what they ask for is already the case, or nothing is lost."""


@cache
def _say(name: str) -> None:
    from headrace.routing.events import warn  # late: rarely needed

    warn(f"litellm.{name} has no effect in headrace: {WITHOUT_EFFECT[name]}")


def _without_effect(name: str, value: Any) -> None:
    _say(name)


def _providers(entries: Any) -> None:
    from headrace.compat.litellm.custom import register  # late: few programs define custom providers

    register(entries)


def _named(listeners: Any) -> None:
    from headrace.compat.litellm.integrations import named  # late: few programs name integrations

    for listener in listeners if isinstance(listeners, list | tuple) else ():
        if isinstance(listener, str):
            named(listener)  # integrations that act as layers must exist before the first call


SET: Final[Mapping[str, Callable[[Any], object]]] = {
    **{name: partial(_without_effect, name) for name in WITHOUT_EFFECT},
    **dict.fromkeys(("callbacks", "success_callback", "failure_callback"), _named),
    "custom_provider_map": _providers,
}
"""Actions that follow when a setting is assigned."""
