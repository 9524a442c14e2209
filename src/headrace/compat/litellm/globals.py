"""litellm's settings: attributes of the module that are read at every call, whoever set them and however late."""

from __future__ import annotations

from collections.abc import Callable
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
"""What each is until somebody sets it, made anew for the module."""
