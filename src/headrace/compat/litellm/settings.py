"""What litellm's settings make of a call: read at every call, from the module as it is then."""

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
"""Settings for calls that name no deployment, and the option that each stands for: a Router's have their own."""

_FOR_ROUTERS: Final = (
    "num_retries", "allowed_fails", "default_fallbacks", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
)  # fmt: skip
"""Settings that a Router takes over when it is made, unless it is told otherwise."""


def applied(call: Call, routed: bool) -> Call:
    """The call as the settings want it. What the caller said himself stands."""
    custom.register(setting("custom_provider_map"))
    if setting("drop_params"):
        call.control.setdefault("drop_params", True)
    if setting("caching"):
        call.control.setdefault("caching", True)
    if not routed:
        call = _direct(call)
    return modified(call) if call.control.get("modify_params", setting("modify_params")) and call.operation is CHAT else call


def for_routers() -> dict[str, Any]:
    """What a Router that is made now takes over."""
    custom.register(setting("custom_provider_map"))
    found = {name: setting(name) for name in _FOR_ROUTERS} | {"timeout": setting("request_timeout")}
    # Programs written for litellm make Routers first and see at the call whose key is missing; their tests have none and mock the answers.
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
    """`litellm.openai_key` and its like."""
    provider = provider_of(call)
    key: str | None = None if provider is None else setting(f"{provider.name}_key")
    return key
