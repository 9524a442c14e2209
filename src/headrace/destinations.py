"""Resolves a model name, the caller's options and the environment to a URL and its authentication headers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from headrace.calls import shape
from headrace.errors import AuthenticationError, BadRequestError, ConfigurationError
from headrace.fingerprint import fingerprint
from headrace.objects import Json
from headrace.providers.auth import headers_for
from headrace.providers.catalog import catalog, find_base_url, find_key, missing_base_url, missing_key, placed, resolve
from headrace.providers.hybrids import first_set, split_query
from headrace.providers.rows import Provider, split_url
from headrace.wire import HeaderPairs

if TYPE_CHECKING:
    from headrace.providers.signing import Signer


class Destination(Struct, frozen=True, eq=False):
    """Where an attempt is sent: a provider's row, one of its models, a URL and authentication headers."""

    provider: Provider
    model: str
    base_url: str
    headers: HeaderPairs
    defaults: Mapping[str, Json] = {}
    """Body parameters used unless the caller sets them."""
    options: Mapping[str, Any] = {}
    """`drop_params`, `extra_body`, `extra_query` and `api_version`, used unless the caller sets them."""
    account: str = ""
    """Identifies the quota: derived from key, URL and model."""
    query: Mapping[str, str] = {}
    """Query parameters of every request: those of the configured URL, and the API version."""
    signer: Signer | None = None
    """Signs each request with cloud credentials, where no key is used."""
    deployment: str = ""
    """Id of the Router's deployment, where responses may be stored."""
    storage: tuple[tuple[str, Any], ...] = ()
    """Credentials for the cloud's storage, as options in the form of `providers.cloud_auth`."""
    place: str = ""
    """The URL's path component in place of the model's name, where that only identifies the model family."""

    def __repr__(self) -> str:
        return f"<Destination {self.provider.name}/{self.model} at {self.host}>"

    @property
    def credential(self) -> str:
        """Identifies the credential at its URL: if one call is rejected for it, all are."""
        return f"{self.base_url}|{self.account.rpartition('|')[2]}"

    @property
    def host(self) -> str:
        return split_url(self.base_url).netloc.rpartition("@")[2]


PYTHON: Final = "http://python.invalid/v1"
"""The URL of providers implemented in Python (`headrace.handlers`). Nothing is sent there."""


def destination(model: str, control: Mapping[str, Any]) -> Destination:
    """Resolve a model name and its credentials, arguments before environment.

    Raises BadRequestError for an unknown provider and AuthenticationError for a missing key; both name the fix.
    """
    base_url = control.get("base_url") or control.get("api_base")
    key = control.get("api_key")
    provider, organization = control.get("custom_llm_provider"), control.get("organization")
    project = control.get("project")
    _texts(base_url=base_url, api_key=key, custom_llm_provider=provider, organization=organization, project=project)
    if control.get("mock_response") is not None or control.get("mock_timeout") or control.get("mock_tool_calls"):
        base_url, key = base_url or "http://mock.invalid/v1", key or "mock"
    headers = _merged({"openai-project": project} if project else None, control.get("headers"), control.get("extra_headers"))
    to = _resolved(model, provider, base_url, organization, headers, catalog().revision)
    if to.provider.unspoken:
        raise BadRequestError(f"{to.provider.name} cannot be called: {to.provider.unspoken}", to.model, to.provider.name)
    if control.get("model_id") is not None and to.provider.auth.sign != "aws":
        raise ConfigurationError(
            f"model_id is an option of Bedrock, not of {to.provider.name}: write {to.provider.name}/ followed by the id"
        )
    if to.provider.base_url == PYTHON:
        base_url = None  # passed to the handler, which defines its meaning
    if to.provider.auth.sign:
        opened = _in_cloud(to, key, base_url, control)
    else:
        key = find_key(to.provider, os.environ) if key is None else key
        opened = _opened(to, key, base_url or find_base_url(to.provider, os.environ), _versions(to.provider, control))
    return _with_fields(opened, os.environ) if opened.provider.fields else opened


def _texts(**named: Any) -> None:
    """Raises ConfigurationError for a value that is not a string."""
    for name, value in named.items():
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a string, got {shape(value)}")


class _Versions(NamedTuple):
    """The API version requested by the caller and by the environment; empty for none."""

    asked: str
    usual: str

    def of(self, provider: Provider, address: Mapping[str, str]) -> str:
        """The version in effect: the caller's, the URL's, the environment's, else the row's."""
        usual = self.usual if provider.version.env else ""
        return self.asked or address.get(provider.version.query, "") or usual or provider.version.default


def _versions(provider: Provider, control: Mapping[str, Any]) -> _Versions:
    asked = control.get("api_version")
    if asked is not None and not isinstance(asked, str):
        raise ConfigurationError(f"api_version must be a string such as '2024-10-21', got {shape(asked)}")
    return _Versions(asked or "", next((value for name in provider.version.env if (value := os.environ.get(name, "").strip())), ""))


def _with_fields(to: Destination, environment: Mapping[str, str]) -> Destination:
    found = {field: first_set(names, environment) for field, names in to.provider.fields.items()}
    said = {field: value for field, value in found.items() if value}
    return msgspec.structs.replace(to, defaults={**said, **to.defaults})


def _in_cloud(to: _Resolved, key: str | None, base_url: str | None, control: Mapping[str, Any]) -> Destination:
    """The destination at a cloud provider, opened by an API key or by requests signed with the cloud's credentials."""
    from headrace.providers import cloud_auth  # late: only clouds need it

    given = cloud_auth.given(to.provider, to.model, control, os.environ)
    if key is None and not given.own:
        key = find_key(to.provider, os.environ)
    options, key = cloud_auth.exchanged(to.provider, given.options, key)
    versions = _versions(to.provider, control)
    base_url = base_url or find_base_url(to.provider, given.environment) or (to.provider.keyed_base_url if key else None)
    signer = None
    if not key and (base_url or to.provider.base_url):
        signer = cloud_auth.signer_for(to.provider, base_url or to.provider.base_url, options, given.environment)
    opened = _opened(to, key, base_url, versions, signer, given.place)
    storage = cloud_auth.storage_options(given.options, control) if "files" in to.provider.forms else ()
    return msgspec.structs.replace(opened, storage=storage) if storage else opened


def _merged(*headers: Mapping[str, str] | None) -> HeaderPairs:
    merged: dict[str, str] = {}
    for given in headers:
        if given is None:
            continue
        if not isinstance(given, Mapping):
            raise BadRequestError(f"extra_headers must be a mapping of names to strings, got {shape(given)}")
        merged |= {str(name): str(value) for name, value in given.items()}
    return tuple(merged.items())


class _Resolved(Struct, frozen=True, eq=False):
    provider: Provider
    model: str
    explicit: bool
    """Whether the caller gave a base URL; then a key is not required."""
    headers: HeaderPairs

    def __repr__(self) -> str:
        return f"<_Resolved {self.provider.name}/{self.model}>"


@lru_cache(maxsize=1024)
def _resolved(
    model: str, provider: str | None, base_url: str | None, organization: str | None, headers: HeaderPairs, revision: int
) -> _Resolved:
    """A model's provider, cached. `revision` is the catalog's, so that providers registered later are found."""
    found = resolve(model, custom_llm_provider=provider, base_url=base_url)
    if found.provider.base_url != PYTHON:
        _checked(base_url)
    if organization:
        headers = (("openai-organization", organization), *headers)
    return _Resolved(found.provider, found.model, base_url is not None, headers)


@lru_cache(maxsize=1024)
def _opened(
    to: _Resolved, key: str | None, base_url: str | None, versions: _Versions, signer: Signer | None = None, place: str = ""
) -> Destination:
    address = base_url or to.provider.base_url
    if not address:
        raise ConfigurationError(missing_base_url(to.provider))
    _checked(address)
    address, query = split_query(address)
    address = to.provider.address(address).removesuffix("/chat/completions")  # some providers document the full chat endpoint
    provider, model = to.provider.variant(to.model, address, versions.of(to.provider, query))
    address = provider.address(address)
    if version := versions.of(provider, query):
        query |= {provider.version.query: version}
    if not key and provider.needs_key and not to.explicit and signer is None:
        raise AuthenticationError(missing_key(provider), provider.name, model)
    headers = (("content-type", "application/json"), *provider.headers.items(), *headers_for(provider, key), *to.headers)
    account = f"{address}|{place or model}|{fingerprint(key or '') if signer is None else signer.identity}"
    pairs = _last_wins(headers)
    return Destination(placed(provider, address), model, address, pairs, account=account, query=query, signer=signer, place=place)


def _checked(base_url: str | None) -> None:
    """Raises ConfigurationError for a string that is not a valid URL."""
    if base_url is None:
        return
    parts = split_url(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"base_url must begin with http:// or https:// and name a host, got {shape(base_url)}; e.g. https://api.openai.com/v1"
        )
    try:
        parts.port  # noqa: B018  # urllib validates the port only on access
    except ValueError:
        raise ConfigurationError("the port of base_url must be a number from 0 to 65535; e.g. http://127.0.0.1:8000/v1") from None
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        raise ConfigurationError("base_url contains characters that are invalid in a URL: percent-encode them (a space is %20)")


def _last_wins(pairs: HeaderPairs) -> HeaderPairs:
    return tuple({name.lower(): (name.lower(), value) for name, value in pairs}.values())
