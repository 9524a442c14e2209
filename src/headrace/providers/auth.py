"""Authentication headers for an API key."""

from __future__ import annotations

from headrace.errors import ConfigurationError
from headrace.providers.rows import Provider
from headrace.wire import HeaderPairs


def headers_for(provider: Provider, key: str | None) -> HeaderPairs:
    """The headers that authenticate at `provider`; none without a key.

    Raises ConfigurationError, without repeating the key, for a key with characters that a header cannot contain.
    """
    if not key:
        return ()
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError(
            f"the key for {provider.name} contains characters that are invalid in a header: copy it again without line breaks"
        )
    key = key.removeprefix(provider.auth.cut)
    if provider.auth.header:
        return ((provider.auth.header, key),)
    return (("authorization", f"{provider.auth.scheme} {key}"),)
