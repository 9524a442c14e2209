"""The `guardrails` section of a configuration, in LiteLLM's format: rules around every call of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from importlib import import_module
from typing import Any, Final

from headrace.calls import Call, shape
from headrace.errors import ConfigurationError, HeadraceError
from headrace.gateway.admin.forms import check_names, mapping, text
from headrace.gateway.callers import Caller
from headrace.gateway.contents import question_of
from headrace.gateway.policies import NO_POLICIES, Policies
from headrace.gateway.records import present
from headrace.layers import around
from headrace.layers.around import Handler
from headrace.layers.guardrails import Guardrail, Guardrails, Rule
from headrace.ports import Ports

_WHERE: Final[Mapping[str, str]] = {"pre_call": "input", "during_call": "input", "post_call": "output"}
"""LiteLLM's modes, and which side a rule then checks. Masking happens before a call is sent, in `during_call` as well."""
_OURS: Final = ("kinds", "region", "action", "block")
_KNOWN: Final = ("guardrail", "mode", "default_on", "pii_entities_config", *_OURS)


NOBODY: Final = Caller()


class GuardrailService:
    """Runs the configured rules around every call of the process while the gateway runs."""

    def __init__(
        self, rules: Sequence[Rule] = (), policies: Policies = NO_POLICIES, group_of: Callable[[str], str] = lambda model: model
    ) -> None:
        """group_of: the model group behind a model's name."""
        self._runs = False
        self._group_of = group_of
        self.use(rules, policies)

    def use(self, rules: Sequence[Rule], policies: Policies = NO_POLICIES) -> None:
        """Replace the rules, from the next call on. Without rules, calls are not wrapped at all."""
        self._policies = policies
        self._rules = Guardrails(rules, self._by_policy if policies.attached else None)
        self._stands = bool(rules)
        self._follow()

    async def start(self) -> None:
        self._runs = True
        self._follow()

    async def stop(self) -> None:
        self._runs = False
        self._follow()

    def _follow(self) -> None:
        if self._runs and self._stands:
            around.install(self._layer, session=self._check_session)
        else:
            around.remove(self._layer)

    def _by_policy(self, call: Call) -> Container[str]:
        """The rules that apply to a call. A call without a caller is that of `NOBODY`."""
        entry = present()
        caller = NOBODY if entry is None else entry.caller
        return self._policies.rules(caller, tuple({call.model, self._group_of(call.model)}))

    def _check_session(self, call: Call) -> None:
        self._rules.check_session(call)

    async def _layer(self, ports: Ports, call: Call, handler: Handler, routed: bool) -> Any:
        entry = present()
        if entry is None or entry.content is None:
            return await self._rules.answer(ports, call, handler)
        content = entry.content
        content.ask(None)  # what a rule refuses or masks must not be recorded

        async def noted(ports: Ports, call: Call) -> Any:
            content.ask(question_of(call))
            return await handler(ports, call)

        return await self._rules.answer(ports, call, noted)


def read_guardrails(given: Any, problem: Callable[[str], object]) -> tuple[Rule, ...]:
    """The rules of a section. problem: called with each mistake and its place."""
    if not isinstance(given, list):
        if given is not None:
            problem(f"guardrails must be a list of rules, got {shape(given)}")
        return ()
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(given):
        try:
            rule = _rule(entry)
            if rule.name in rules:
                raise ConfigurationError(f"guardrail_name: another guardrail is already called {rule.name!r}")
            rules[rule.name] = rule
        except HeadraceError as error:
            said = str(error.failure.message)
            problem(
                f"guardrails[{number}].{said}" if said.startswith(("guardrail_name", "litellm_params")) else f"guardrails[{number}]: {said}"
            )
    return tuple(rules.values())


def _rule(entry: Any) -> Rule:
    fields = mapping("an entry", entry)
    check_names(fields, ("guardrail_name", "litellm_params", "guardrail_info"))
    name, params = text("guardrail_name", fields.get("guardrail_name")), mapping("litellm_params", fields.get("litellm_params"))
    kind = text("litellm_params.guardrail", params.get("guardrail"))
    make = _READY.get(kind) or (_own(kind) if "." in kind or ":" in kind else None)
    if make is None:
        raise ConfigurationError(
            f"litellm_params.guardrail: {kind!r} is not supported; known: {', '.join(_READY)}, or your own rule as module.Class"
        )
    for unknown in [param for param in params if param not in _KNOWN]:
        raise ConfigurationError(f"litellm_params.{unknown} is not supported; a guardrail takes {', '.join(_KNOWN)}")
    options = {option: params[option] for option in _OURS if params.get(option) is not None}
    options |= _entities(params["pii_entities_config"]) if params.get("pii_entities_config") is not None else {}
    try:
        return make(name=name, where=_where(params.get("mode")), default_on=bool(params.get("default_on", False)), **options)
    except ConfigurationError as error:
        raise ConfigurationError(f"litellm_params: {error}") from None
    except TypeError as error:
        raise ConfigurationError(f"litellm_params.guardrail: {kind} does not take these options ({error})") from None


def _where(mode: Any) -> list[str]:
    modes = ["pre_call", "post_call"] if mode is None else [mode] if isinstance(mode, str) else mode
    if not isinstance(modes, list) or (unknown := [one for one in modes if one not in _WHERE]):
        said = shape(mode) if not isinstance(modes, list) else repr(unknown[0])
        raise ConfigurationError(f"mode must be one of {', '.join(_WHERE)}, or a list of them, got {said}")
    return list(dict.fromkeys(_WHERE[one] for one in modes))


def _entities(given: Any) -> dict[str, Any]:
    """What to find, and what of it to refuse, from LiteLLM's `{"CREDIT_CARD": "BLOCK"}`."""
    config = mapping("pii_entities_config", given)
    for kind, action in config.items():
        if action not in ("MASK", "BLOCK"):
            raise ConfigurationError(f"litellm_params.pii_entities_config.{kind} must be MASK or BLOCK, got {shape(action)}")
    return {"kinds": list(config), "block": [kind for kind, action in config.items() if action == "BLOCK"]}


def _pii(**options: Any) -> Rule:
    return _ready("pii", "PII", options)


def _secrets(**options: Any) -> Rule:
    return _ready("secrets", "Secrets", options)


def _ready(module: str, name: str, options: Mapping[str, Any]) -> Rule:
    try:
        rules = import_module(f"headrace.layers.{module}")  # by name: it needs packages of an extra
    except ImportError as error:
        raise ConfigurationError(f"this rule needs one more package ({error.name}): pip install 'headrace[guardrails]'") from None
    made: Rule = getattr(rules, name)(**options)
    return made


_READY: Final[Mapping[str, Callable[..., Rule]]] = {"presidio": _pii, "pii": _pii, "hide-secrets": _secrets, "secrets": _secrets}


def _own(named: str) -> Callable[..., Rule]:
    """The class at `package.module.Class`, or `package.module:Class`. Raises ConfigurationError."""
    module, _, name = named.replace(":", ".").rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"litellm_params.guardrail: there is no {named!r} ({type(error).__name__}: {error})") from None
    if not isinstance(found, type) or not issubclass(found, Guardrail):
        raise ConfigurationError(f"litellm_params.guardrail: {named} must be a subclass of headrace.layers.guardrails.Guardrail")
    return found
