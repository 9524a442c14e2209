"""What a call says of the cache (`cache`, `caching`), in LiteLLM's words: the Router's to hear where it has one."""

from __future__ import annotations

from typing import Any, Final

from headrace.errors import Kind
from headrace.gateway.asking import Here
from headrace.gateway.requests import refusal
from headrace.layers.cache import read_control

WORDS: Final = frozenset({"cache", "caching"})


def follow(options: dict[str, Any], here: Here) -> None:
    """Make of a call's options what the Router may take. Where nothing is cached whatever asks for less than a cache is granted.

    Raises BadRequestError for what is no such word, and where a cache is asked for and there is none.
    """
    said = {word: value for word in WORDS if (value := options.pop(word, None)) is not None}
    control = read_control(said, default_on=False)
    if not here.router.has_cache:
        if control.reads or control.writes:
            raise refusal(400, Kind.BAD_REQUEST, "nothing is cached here (litellm_settings.cache)", min(said))
        return
    if control.namespace is not None:  # a name alone must not open what others keep under it
        said["cache"] = {**said["cache"], "namespace": f"{here.caller.owner}/{control.namespace}"}
    options |= said
