"""Applies litellm's settings to a call, reading them from the module at every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headrace.calls import CHAT, Call
from headrace.compat.litellm import custom
from headrace.compat.litellm.modified import modified, provider_of
from headrace.compat.litellm.stand_in import setting

_FOR_DIRECT: Final[Mapping[str, str]] = {
    "num_retries": "num_retries", "request_timeout": "timeout", "api_key": "api_key", "api_version": "api_version",
    "organization": "organization", "vertex_project": "vertex_project", "vertex_location": "vertex_location", "headers": "headers",
    "model_fallbacks": "fallbacks",
}  # fmt: skip
"""Settings for calls without a Router, and the option each stands for; a Router has its own."""

_FOR_ROUTERS: Final = (
    "num_retries", "allowed_fails", "default_fallbacks", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
)  # fmt: skip
"""Settings that a Router adopts when it is created, unless given as arguments."""


def applied(call: Call, routed: bool) -> Call:
    """The call with the settings applied. The caller's own options take precedence."""
    custom.register(setting("custom_provider_map"))
    if setting("drop_params"):
        call.control.setdefault("drop_params", True)
    if setting("caching"):
        call.control.setdefault("caching", True)
    if not routed:
        call = _direct(call)
    return modified(call) if call.control.get("modify_params", setting("modify_params")) and call.operation is CHAT else call


def for_routers() -> dict[str, Any]:
    """The settings that a new Router adopts."""
    custom.register(setting("custom_provider_map"))
    found = {name: setting(name) for name in _FOR_ROUTERS} | {"timeout": setting("request_timeout")}
    # Programs written for litellm create Routers without keys and learn of a missing one at the call; their tests have
    # none and mock responses.
    return {name: value for name, value in found.items() if value} | {"require_keys": False}


def _direct(call: Call) -> Call:
    model = (setting("model_alias_map") or {}).get(call.model, call.model)
    if call.control.get("use_litellm_proxy", setting("use_litellm_proxy")) and not model.startswith("litellm_proxy/"):
        model = f"litellm_proxy/{model}"
    if model != call.model:
        call = msgspec.structs.replace(call, model=model)
    control = call.control
    for name, option in _FOR_DIRECT.items():
        if value := setting(name):
            control.setdefault(option, value)
    if (address := setting("api_base")) and not (control.get("base_url") or control.get("api_base")):
        control["base_url"] = address
    if "api_key" not in control and (key := _house_key(call)):
        control["api_key"] = key
    return call


def _house_key(call: Call) -> str | None:
    """`litellm.openai_key` and the like."""
    provider = provider_of(call)
    key: str | None = None if provider is None else setting(f"{provider.name}_key")
    return key
