"""The catalogue as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headrace.providers.catalog import ANY_ADDRESS, shipped
from headrace.providers.rows import Provider

_HEAD = ("prefix", "operations", "address", "key", "basis")


def markdown() -> str:
    """A Markdown table of every built-in provider, sorted by name."""
    rows = sorted(shipped(), key=lambda row: row.name)
    lines = [_HEAD, ("---",) * len(_HEAD), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Provider) -> tuple[str, ...]:
    prefixes = ", ".join(f"`{name}`" for name in (row.name, *row.aliases))
    offers = ", ".join(row.offered) or f"not supported: {row.unspoken}"
    return prefixes, offers, _address(row), _key(row), f"{row.confidence}: {row.source} ({row.checked})"


def _address(row: Provider) -> str:
    known = row.base_url or row.base_url_template
    settable = " or ".join(f"`{name}`" for name in row.base_url_envs)
    if known:
        return f"`{known}`"
    return f"your own: {settable or '`base_url`'}" if row.name != ANY_ADDRESS else "any: `base_url`"


def _key(row: Provider) -> str:
    signed = _SIGNED.get(row.auth.sign, "")
    if not row.key_envs:
        return signed or "none"
    return f"`{row.key_envs[0]}`{', if any' if row.auth.optional else ''}{f' or {signed}' if signed else ''}"


_SIGNED: Final[Mapping[str, str]] = {
    "aws": "AWS credentials",
    "google": "Google credentials",
    "entra": "Entra tokens",
    "databricks": "a service principal",
    "oci": "OCI credentials",
    "sap": "a service key",
}
"""The credentials that replace a key."""
