"""Reads a configuration file, or only the environment, into a Router and the gateway's settings. Reports all mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from headrace.api import Router, cache_of
from headrace.calls import shape
from headrace.destinations import destination
from headrace.errors import ConfigurationError, HeadraceError
from headrace.gateway.callbacks import LISTS as CALLBACKS
from headrace.gateway.callbacks import Found, read_callbacks
from headrace.gateway.default_terms import DEFAULT_TERMS, read_default_terms
from headrace.gateway.general import DATABASE, Settings, read_general
from headrace.gateway.guard import is_loopback
from headrace.gateway.guardrails import read_guardrails
from headrace.gateway.policies import NO_POLICIES, Policies, read_policies
from headrace.gateway.secret_values import Secrets, Stamp, hook_of
from headrace.gateway.sources import SHORT, Place, Problem, Source, place_of, read_source
from headrace.layers.guardrails import Rule
from headrace.proxy_config import FOR_CALLS, FOR_EVERY_CALL, GATEWAYS, SECTIONS, Credentials, read_credentials, with_credentials
from headrace.routing.options import read_options
from headrace.routing.plan import Deployment, make_plan, read_deployment
from headrace.runtime.redis_address import address_of
from headrace.runtime.sql_address import address

__all__ = ["CACHES", "MASTER_KEY", "Config", "Examined", "Mistakes", "Settings", "check_address", "examine", "read_config"]

MASTER_KEY: Final = "HEADRACE_MASTER_KEY"

CACHES: Final[Mapping[str, str]] = {"cache": "cache_responses", "cache_params": "cache_kwargs"}
"""Cache settings in `litellm_settings`, and the Router's names for them."""


PROTECTING: Final[Mapping[str, str]] = {
    "litellm_settings.prompt_injection_params": "write a guardrail of your own, and name it in the section `guardrails` as module.Class",
    "litellm_settings.guardrails": "use the section `guardrails`",
}
"""Protective settings of LiteLLM's that are not supported, with the replacement. Ignoring them would let more through."""

GUARDING: Final = frozenset({"guardrails", "policies", "policy_attachments"})

HEALTH_CHECKS: Final = (
    "health_check_interval", "enable_health_check_routing", "health_check_staleness_threshold", "health_check_ignore_transient_errors",
)  # fmt: skip
"""Settings in `general_settings` that the Router has under the same names."""


class Mistakes(ConfigurationError):
    """Everything that is wrong with a configuration."""

    problems: Sequence[Problem] = ()

    @classmethod
    def in_file(cls, name: str, problems: Sequence[Problem]) -> Mistakes:
        """The error that lists the mistakes of a file."""
        if len(problems) == 1:
            made = cls(str(problems[0]))
        else:
            made = cls(f"{name} has {len(problems)} mistakes:\n" + "\n".join(f"- {problem}" for problem in problems))
        made.problems = tuple(problems)
        return made


class Config(Struct, frozen=True, eq=False):
    """The content of a configuration."""

    model_list: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any] = {}
    """Options of the Router."""
    settings: Settings = Settings()
    rules: tuple[Rule, ...] = ()
    """Guardrails."""
    policies: Policies = NO_POLICIES
    """Which guardrails apply to whose calls."""
    callbacks: Found = Found()
    """Integrations and loggers."""
    unused: tuple[str, ...] = ()
    """Settings that have no effect in headrace."""
    files: Mapping[Path, Stamp] = {}
    """The files it was read from, including those with secrets, as they were before they were read."""

    @property
    def of_router(self) -> dict[str, Any]:
        """The Router's options with the gateway's defaults.

        Parameters that a translation cannot express are dropped and named in the response, unless the configuration
        says `drop_params: false`: coding agents send parameters of their own provider with every call, and cannot be
        told not to.
        """
        standing = {"drop_params": True, **self.options.get("default_litellm_params", {})}
        return {**self.options, "default_litellm_params": standing}

    def router(self) -> Router:
        """The Router of this configuration. Raises ConfigurationError."""
        return Router(list(self.model_list), **self.of_router)


class Examined(Struct, eq=False):
    """A configuration, and what is wrong with it."""

    config: Config
    problems: list[Problem]
    deployments: dict[int, Deployment]
    """The valid deployments, by their position in `model_list`."""
    name: str


def read_config(path: Path | None, environment: MutableMapping[str, str]) -> Config:
    """The configuration in a file; without a file, the models of the environment and `.env`.

    environment: where `environment_variables` are set, as LiteLLM does. Raises Mistakes, a ConfigurationError.
    """
    if path is None:
        from headrace.settings import settings  # late: with a configuration file, .env is not needed

        try:
            models = settings.model_list()
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}\n- or serve the models of a configuration: headrace serve --config FILE") from None
        return Config(models, settings=Settings(key=environment.get(MASTER_KEY, "")))
    examined = examine(path, environment)
    if examined.problems:
        raise Mistakes.in_file(str(path), examined.problems)
    return examined.config


def examine(path: Path, environment: MutableMapping[str, str]) -> Examined:
    """Read all there is and collect every mistake. Raises ConfigurationError for a file that cannot be read at all."""
    return _Reading(read_source(path), environment).all()


class _Reading:
    """Reads one configuration, section by section."""

    def __init__(self, source: Source, environment: MutableMapping[str, str]) -> None:
        self._source = source
        self._environment = environment
        self._unused: list[str] = []
        self._secrets = Secrets(environment)

    def all(self) -> Examined:
        """The configuration, with every mistake in it."""
        self._sections()
        self._protection()
        self._variables()
        settings = self._settings()
        options = self._options()
        entries, deployments = self._deployments()
        if not self._source.problems:
            self._together(deployments, options)
        files = {**self._source.files, **self._secrets.files}
        rules = read_guardrails(self._named(self._source.content.get("guardrails"), ("guardrails",)), self._source.problem)
        content = self._source.content
        named = [rule.name for rule in rules]
        policies = read_policies(content.get("policies"), content.get("policy_attachments"), named, self._source.problem)
        config = Config(entries, options, settings, rules, policies, self._callbacks(), tuple(self._unused), files)
        return Examined(config, self._source.problems, deployments, self._source.name)

    # ---- sections ----------------------------------------------------------------------------------------------------

    def _sections(self) -> None:
        for name in self._source.content:
            if name in GATEWAYS - SECTIONS - PROTECTING.keys() - GUARDING:
                self._unused.append(str(name))
            elif name not in SECTIONS and name not in GATEWAYS:
                self._source.problem(f"there is no section {name!r}{_near(str(name))}", (str(name),))

    def _protection(self) -> None:
        for name, instead in PROTECTING.items():
            place = tuple(name.split("."))
            given: Any = self._source.content
            for step in place:
                given = given.get(step) if isinstance(given, Mapping) else None
            if given:
                self._source.problem(f"{name} is not supported, and ignoring it would let more through: {instead}", place)

    def _section(self, name: str) -> dict[str, Any]:
        given = self._source.content.get(name) or {}
        if isinstance(given, Mapping):
            return {str(inner): value for inner, value in given.items()}
        self._source.problem(f"{name} must be a mapping, got {shape(given)}", (name,))
        return {}

    def _named(self, value: Any, place: Place, *, environment: bool = True) -> Any:
        """`value` with its secrets resolved; None, and a problem noted, if one is not available."""
        try:
            return self._secrets.of(value, environment=environment)
        except ConfigurationError as error:
            self._source.problem(f"{_spelled(place)}: {error}", place)
            return None

    def _variables(self) -> None:
        for name, value in self._section("environment_variables").items():
            found = self._named(value, ("environment_variables", name))
            if found is not None:
                self._environment[name] = os.environ[name] = str(found)

    # ---- the gateway's settings --------------------------------------------------------------------------------------

    def _settings(self) -> Settings:
        given = self._section("general_settings")
        if given.get("secret_hook"):
            self._try(lambda: setattr(self, "_secrets", Secrets(self._environment, hook_of(given["secret_hook"]))))
        found = {name: self._named(value, ("general_settings", name)) for name, value in given.items()}
        fields, idle = read_general(found, self._source.problem)
        library = self._section("litellm_settings")
        said = {name: self._named(library[name], ("litellm_settings", name)) for name in DEFAULT_TERMS if name in library}
        fields["default_terms"] = read_default_terms(said, self._source.problem)
        self._unused += [name for name in idle if name not in PROTECTING]
        if where := fields.get("database") or self._environment.get(DATABASE):
            self._try(lambda: address(where), ("general_settings", "database_url"))
        if "master_key" in given and not fields.get("key"):
            if given["master_key"] is None:
                self._source.problem("general_settings.master_key must be a key, or refer to one: os.environ/NAME")
        else:
            fields.setdefault("key", self._environment.get(MASTER_KEY, ""))
        return Settings(**fields)

    def _try(self, act: Callable[[], Any], place: Place | None = None) -> Any:
        """The result of `act`; None, and a problem noted, if it raises."""
        try:
            return act()
        except HeadraceError as error:
            self._source.problem(str(error), place)
            return None

    def _callbacks(self) -> Found:
        given = self._section("litellm_settings")
        found = read_callbacks(given, Path(self._source.name).resolve().parent, lambda what: self._source.problem(what))
        self._unused += found.unused
        return found

    # ---- the Router's options ----------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        library, own = self._section("litellm_settings"), self._section("router_settings")
        names = {**FOR_CALLS, **CACHES}
        options: dict[str, Any] = {}
        for name, value in library.items():
            if name in names:
                self._option(options, names[name], value, ("litellm_settings", name))
            elif name not in (*FOR_EVERY_CALL, *CALLBACKS, *DEFAULT_TERMS) and f"litellm_settings.{name}" not in PROTECTING:
                self._unused.append(f"litellm_settings.{name}")
        standing = {name: self._named(value, ("litellm_settings", name)) for name, value in library.items() if name in FOR_EVERY_CALL}
        for name, value in {**self._health_checks(), **own}.items():
            self._option(options, name, value, ("router_settings", name))
        if options.get("redis_url") is not None:
            self._try(lambda: address_of(options["redis_url"]), ("router_settings", "redis_url"))
        if standing:
            options["default_litellm_params"] = {**standing, **(options.get("default_litellm_params") or {})}
        return options

    def _health_checks(self) -> dict[str, Any]:
        """The health check settings of `general_settings`, as Router options; there they only take effect if enabled."""
        given = self._section("general_settings")
        if given.get("background_health_checks") is not True:
            return {}
        usual = {"health_check_interval": 300, "enable_health_check_routing": False}
        return {**usual, **{name: value for name, value in given.items() if name in HEALTH_CHECKS and value is not None}}

    def _option(self, options: dict[str, Any], name: str, value: Any, place: Place) -> None:
        value = self._named(value, place)
        if value is None:
            return
        if not name.startswith(_TOGETHER):
            try:
                read_options({name: value})
            except HeadraceError as error:
                self._source.problem(f"{_spelled(place)}: {error}", place)
                return
        options[name] = value

    # ---- deployments -------------------------------------------------------------------------------------------------

    def _deployments(self) -> tuple[list[Any], dict[int, Deployment]]:
        entries = self._source.content.get("model_list")
        if not entries and self._section("general_settings").get("store_model_in_db") is True:
            return [], {}
        if not isinstance(entries, list) or not entries:
            self._source.problem(f"model_list must be a list of at least one deployment, got {shape(entries)}", ("model_list",))
            return [], {}
        found: dict[int, Deployment] = {}
        credentials = self._try(lambda: read_credentials(self._source.content.get("credential_list"))) or {}
        named = [
            self._named(self._credited(number, entry, credentials), ("model_list", number), environment=False)
            for number, entry in enumerate(entries)
        ]
        for number, entry in enumerate(named):
            if entry is not None and (deployment := self._deployment(number, entry, found)) is not None:
                found[number] = deployment
        return named, found

    def _credited(self, number: int, entry: Any, credentials: Credentials) -> Any:
        return self._try(lambda: with_credentials(entry, credentials, f"model_list[{number}]"))

    def _deployment(self, number: int, entry: Any, before: Mapping[int, Deployment]) -> Deployment | None:
        """A deployment; None, with every mistake noted, if it is invalid.

        A wrong field is left out in order to find the next mistake.
        """
        taken, wrong = [other.id for other in before.values()], False
        while True:
            try:
                found = _deployment(f"model_list[{number}]", entry, self._environment, taken)
            except HeadraceError as error:
                self._source.problem(str(error))
                wrong, left = True, without(entry, str(error))
                if left is None:
                    return None
                entry = left
            else:
                return None if wrong else found

    def _together(self, deployments: Mapping[int, Deployment], options: Mapping[str, Any]) -> None:
        """Check what concerns the configuration as a whole."""
        settings = self._try(lambda: read_options(options), ("router_settings",))
        if settings is not None:
            if settings.cache_arguments is not None:
                self._cache(settings.cache_arguments)
            self._try(lambda: make_plan(deployments.values(), aliases=settings.aliases, fallbacks=settings.fallbacks), ("router_settings",))

    def _cache(self, arguments: Mapping[str, Any]) -> None:
        """Check that the cache can be created; doing so opens no connection."""
        own = "cache_kwargs" not in self._section("router_settings")
        place = ("litellm_settings", "cache_params") if own else ("router_settings", "cache_kwargs")
        try:
            cache_of(**arguments)
        except ConfigurationError as error:
            self._source.problem(f"{_spelled(place)}: {error.failure.message.removeprefix('cache_kwargs: ')}", place)


def _deployment(where: str, entry: Any, environment: Mapping[str, str], taken: Sequence[str]) -> Deployment:
    found = read_deployment(entry, where, environment, taken=taken)
    try:
        # With a wildcard as the whole name, the provider is not known yet.
        destination("openai/*" if found.model == "*" else found.model, found.control)
    except HeadraceError as error:
        raise ConfigurationError(f"{where}.litellm_params.model: {error}") from error
    return found


def without(entry: Any, message: str) -> Any:
    """An entry without the first field that an error names; None if nothing readable is left."""
    place = place_of(message)[2:]
    if not place or place[-1] in ("model", "model_name", "litellm_params") or not isinstance(entry, Mapping) or place[0] not in entry:
        return None
    first, *rest = place
    if not rest:
        return {name: value for name, value in entry.items() if name != first}
    inner = entry[first]
    if not isinstance(inner, Mapping) or rest[0] not in inner:
        return None
    stays = {name: value for name, value in inner.items() if name != rest[0]}
    if rest[0] == "api_key" and inner["api_key"] != ANY_KEY:
        stays["api_key"] = ANY_KEY
    return {**entry, first: stays}


ANY_KEY: Final = "a-key-to-read-on-with"
"""Stands in for an unavailable key, whose absence would otherwise be reported a second time."""


_TOGETHER: Final = ("redis_", "cache", "health_check_", "background_health_check_")
"""Prefixes of options that are only valid together."""


def _spelled(place: Place) -> str:
    first, *rest = place
    return f"{first}" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


def _near(name: str) -> str:
    import difflib  # late: only for a message

    every = sorted({*SECTIONS, "models", *SHORT})
    close = difflib.get_close_matches(name, [*every, *GATEWAYS], 1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(every)}"


def check_address(host: str, settings: Settings) -> None:
    """Raises ConfigurationError for an address that other machines can reach if there is no master key."""
    if not settings.key and not is_loopback(host):
        raise ConfigurationError(
            f"listening on {host} needs a master key: set general_settings.master_key or {MASTER_KEY}, or listen on 127.0.0.1"
        )
