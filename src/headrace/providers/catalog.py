"""The provider catalogue, and the resolution of a model's name to a provider."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from headrace.dialects import NAMES
from headrace.errors import BadRequestError, ConfigurationError
from headrace.providers.rows import Auth, Evidence, Provider, Variant, split_url

ANY_ADDRESS: Final = "custom_openai"
"""The row for OpenAI-compatible servers that are not in the catalogue."""


_HERE: Final = ("localhost", "127.0.0.1", "::1", None)


class Resolved(NamedTuple):
    """A provider, and its own name for the model."""

    provider: Provider
    model: str


class Catalog:
    """All rows, by name and alias."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self.revision = 0
        """Incremented with each added row, to invalidate caches."""
        self._rows: dict[str, Provider] = {}
        self._names: dict[str, str] = {}
        for name, row in rows.items():
            self.add(_provider(name, row))

    def __iter__(self) -> Iterator[Provider]:
        return iter(tuple(self._rows.values()))

    def add(self, provider: Provider) -> None:
        """Adds a row, replacing one with the same name. Raises ConfigurationError if a name or alias belongs to another row."""
        spellings = (provider.name, *provider.aliases)
        for spelling in spellings:
            if (owner := self._names.get(spelling, provider.name)) != provider.name:
                raise ConfigurationError(f"provider {provider.name!r}: the name {spelling!r} belongs to {owner!r}; choose another")
        # New dicts, so that a thread iterating over the old ones is not affected.
        self._rows = {**self._rows, provider.name: provider}
        self._names = {**self._names, **dict.fromkeys(spellings, provider.name)}

    def get(self, spelling: str) -> Provider | None:
        name = self._names.get(spelling)
        return None if name is None else self._rows[name]

    def at(self, base_url: str) -> Provider | None:
        """The provider at `base_url`: the same host, and the longest known path that contains it.

        None for an address on this machine, where any server may be running.
        """
        if split_url(base_url).hostname in _HERE:
            return None
        within = [
            (len(known), provider)
            for provider in self._rows.values()
            for known in (provider.base_url, *provider.other_base_urls)
            if _within(base_url, known)
        ]
        return max(within, key=lambda found: found[0])[1] if within else None

    def owner(self, model: str) -> Provider | None:
        """The provider of a well-known bare model name."""
        return next((row for row in self._rows.values() if row.names and re.match(row.names, model)), None)

    def close_to(self, spelling: str) -> list[str]:
        import difflib  # late: only needed for an error

        return difflib.get_close_matches(spelling, self._names, n=3, cutoff=0.6)


def _provider(name: str, row: Mapping[str, Any]) -> Provider:
    own = {column: value for column, value in row.items() if column != "variants"}
    try:
        variants = tuple(_variant(name, own, changed) for changed in row.get("variants", ()))
        return msgspec.convert({"name": name, **own, "variants": variants}, Provider)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"provider {name!r}: {error}") from error


_WHEN: Final = frozenset({"models", "at", "versions"})


def _variant(name: str, own: Mapping[str, Any], changed: Mapping[str, Any]) -> Variant:
    """A row's columns, overridden by those of a variant."""
    when = {column: changed[column] for column in _WHEN & changed.keys()}
    columns = {column: value for column, value in changed.items() if column not in _WHEN}
    return Variant(_provider(name, {**own, **columns}), **when)


def _within(url: str, known: str) -> bool:
    here, there = split_url(url), split_url(known)
    path = there.path.rstrip("/")
    same_host = (here.scheme, here.netloc.lower()) == (there.scheme, there.netloc)
    return bool(known) and same_host and f"{here.path}/".startswith(f"{path}/")


def shipped() -> Catalog:
    """The built-in catalogue, read anew."""
    import tomllib  # late: most programs that import headrace call no provider
    from importlib.resources import files  # late as well

    read = [tomllib.loads((files(__package__) / name).read_text("utf-8")) for name in ("providers.toml", "clouds.toml")]
    return Catalog({name: row for rows in read for name, row in rows.items()})


_lock: Final = threading.Lock()
_own: Catalog | None = None


def catalog() -> Catalog:
    """This process's catalogue, read on first use."""
    global _own
    if _own is None:
        with _lock:
            _own = _own or shipped()
    return _own


def providers() -> tuple[Provider, ...]:
    """Every known provider, including those registered at run time."""
    return tuple(catalog())


def register_provider(
    name: str,
    *,
    base_url: str,
    api_key_env: str | Sequence[str] = (),
    dialect: str = NAMES[0],
    header: str = "",
    aliases: Sequence[str] = (),
    profile: str = "",
    max_inputs: int = 0,
    speaks: Sequence[str] = (),
) -> Provider:
    """Make `name/model` callable in this process. Replaces an existing row with the same name.

    api_key_env: the environment variables that may hold the key; if empty, no key is needed.
    header: the header for the key; `Authorization: Bearer` if empty.
    max_inputs: maximum number of texts in one embedding request; 0 for no limit.
    speaks: other dialects available at the same base URL, such as `openai_responses`.
    Raises ConfigurationError that names the argument.
    """
    for spelling in (name, *aliases):
        if not spelling or "/" in spelling or spelling != spelling.strip():
            raise ConfigurationError(f"a provider's name must be a word without slashes, such as 'acme'; got {spelling!r}")
    for spoken in (dialect, *speaks):
        if spoken not in NAMES:
            raise ConfigurationError(f"dialect of provider {name!r} must be one of {', '.join(NAMES)}; got {spoken!r}")
    if isinstance(max_inputs, bool) or not isinstance(max_inputs, int) or max_inputs < 0:
        raise ConfigurationError(f"max_inputs of provider {name!r} must be a whole number of at least 0, got {max_inputs!r}")
    parts = split_url(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(f"base_url of provider {name!r} must begin with http:// or https:// and name a host")
    env = (api_key_env,) if isinstance(api_key_env, str) else tuple(api_key_env)
    provider = Provider(
        name=name,
        dialect=dialect,
        base_url=base_url.rstrip("/"),
        auth=Auth(env=env, header=header, optional=not env),
        aliases=tuple(aliases),
        profile=profile,
        speaks=tuple(speaks),
        max_inputs=max_inputs,
        evidence=Evidence("register_provider", "", "unchecked"),
    )
    catalog().add(provider)
    return provider


def resolve(model: str, *, custom_llm_provider: str | None = None, base_url: str | None = None) -> Resolved:
    """The provider for `model`, and the provider's own name for it.

    The part before the first slash is the provider, and the rest is sent verbatim. `custom_llm_provider` takes
    precedence. A name without a known provider belongs to the provider at `base_url`. Raises BadRequestError that
    suggests close matches and the fix.
    """
    if custom_llm_provider:
        provider = catalog().get(custom_llm_provider)
        if provider is None:
            raise BadRequestError(_unknown_provider(custom_llm_provider, "custom_llm_provider"), model=model)
        return _resolved(provider, _without(model, custom_llm_provider, provider.name), base_url)
    prefix, slash, rest = model.partition("/")
    provider = catalog().get(prefix) if slash else None
    if provider is not None:
        return _resolved(provider, rest, base_url)
    provider = _by_address_or_fame(model, base_url)
    if provider is None:
        raise BadRequestError(_unknown_provider(prefix, "model") if slash else _no_provider(model), model=model)
    return _resolved(provider, model, base_url)


def _without(model: str, *prefixes: str) -> str:
    return next((model[len(prefix) + 1 :] for prefix in prefixes if model.startswith(f"{prefix}/")), model)


def _by_address_or_fame(model: str, base_url: str | None) -> Provider | None:
    owner = catalog().owner(model)
    if base_url is None:
        return owner
    return catalog().at(base_url) or owner or catalog().get(ANY_ADDRESS)


def _resolved(provider: Provider, model: str, base_url: str | None) -> Resolved:
    if not model:
        raise BadRequestError(f"the model's own name is missing after {provider.name}/", llm_provider=provider.name)
    if provider.bare_model and "/" not in model:
        model = provider.bare_model.format(model=model)
    return Resolved(provider if base_url is None else placed(provider, base_url), model)


def placed(provider: Provider, base_url: str) -> Provider:
    """`provider` at a different base URL: quirks, limits and quota headers are those of the provider known to be there.

    So `openai/…` with another provider's URL is rate-limited as that provider is, under the name it was called by. For
    an unknown URL the limits are unknown too, unless the provider is self-hosted anyway.
    """
    there = catalog().at(base_url)
    if there is not None and there.name == provider.name:
        return provider
    if there is None:
        own = not provider.base_url or split_url(provider.base_url).hostname in _HERE
        return provider if own else msgspec.structs.replace(provider, profile="", quota="")
    return msgspec.structs.replace(provider, profile=there.profile, quota=there.quota, quirks=there.quirks, speaks=there.speaks)


def _no_provider(model: str) -> str:
    return (
        f"LLM Provider NOT provided: the model {model!r} does not name a provider. Write 'provider/model', for example "
        f"'openai/{model}', or pass custom_llm_provider='openai', or base_url= for an OpenAI-compatible server"
        f"{_meant(model)}"
    )


def _unknown_provider(spelling: str, argument: str) -> str:
    return (
        f"LLM Provider NOT provided: unknown provider {spelling!r} (from {argument}){_meant(spelling)}. For an OpenAI-compatible "
        f"server pass base_url= and the prefix 'openai/'; headrace.register_provider adds a provider, headrace.providers() lists all"
    )


def _meant(spelling: str) -> str:
    close = catalog().close_to(spelling)
    return f". Close matches: {', '.join(close)}" if close else ""


def find_key(provider: Provider, env: Mapping[str, str]) -> str | None:
    """The first non-blank value in `env` among the provider's key variables."""
    return _first(provider.auth.env, env)


def find_base_url(provider: Provider, env: Mapping[str, str]) -> str | None:
    """The provider's base URL from `env`; None if the row's own applies."""
    base_url = _first(provider.base_url_envs, env)
    if base_url is None and provider.base_url_template:
        values = {names: _first(names.split(","), env) or default for names, default in _braced(provider.base_url_template)}
        base_url = _filled(provider, values) if all(values.values()) else None
    return None if base_url is None else provider.address(base_url)


def _first(names: Sequence[str], env: Mapping[str, str]) -> str | None:
    return next((value for name in names if (value := env.get(name, "").strip())), None)


_BRACED: Final = re.compile(r"\{([\w,]+)(?:=([\w-]+))?\}")


def _braced(template: str) -> list[tuple[str, str]]:
    """A template's variables with their defaults, which may be ""."""
    return [(found[1], found[2] or "") for found in _BRACED.finditer(template)]


def _filled(provider: Provider, values: Mapping[str, str]) -> str:
    url = _BRACED.sub(lambda found: values[found[1]], provider.base_url_template)
    for said, meant in provider.replace_in_url.items():
        url = url.replace(said, meant)
    return url


def missing_key(provider: Provider) -> str:
    """Error text for a call without a key."""
    return f"{provider.name} needs a key: set {' or '.join(provider.auth.env)} in the environment, or pass api_key="


def missing_base_url(provider: Provider) -> str:
    """Error text for a provider without a base URL."""
    needed = [names for names, default in _braced(provider.base_url_template) if not default]
    envs = (*provider.base_url_envs, " and ".join(dict.fromkeys(needed)).replace(",", " or "))
    known = [name for name in envs if name]
    return (
        f"{provider.name} has no fixed base URL: pass base_url=, e.g. base_url='http://127.0.0.1:8000/v1'"
        f"{', or set ' + ' or '.join(known) + ' in the environment' if known else ''}"
    )
