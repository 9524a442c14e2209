"""A call's cache control (`cache`, `caching`), in LiteLLM's format, for a Router that has a cache."""

from __future__ import annotations

from typing import Any, Final

from headrace.errors import Kind
from headrace.gateway.context import RequestContext
from headrace.gateway.requests import refusal
from headrace.layers.cache import read_control

WORDS: Final = frozenset({"cache", "caching"})


def follow(options: dict[str, Any], here: RequestContext) -> None:
    """Replace the cache control in a call's options by what the Router takes.

    Without a cache, asking not to use one is accepted. Raises BadRequestError for an invalid value, and if a cache is
    asked for and there is none.
    """
    said = {word: value for word in WORDS if (value := options.pop(word, None)) is not None}
    control = read_control(said, default_on=False)
    if not here.router.has_cache:
        if control.reads or control.writes:
            raise refusal(400, Kind.BAD_REQUEST, "the gateway has no cache (litellm_settings.cache)", min(said))
        return
    if control.namespace is not None:  # the namespace alone must not give access to what others cached under it
        said["cache"] = {**said["cache"], "namespace": f"{here.caller.owner}/{control.namespace}"}
    options |= said
