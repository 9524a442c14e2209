"""The parts of `litellm_settings` on the budget of all calls, and on defaults and bounds for new keys and users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from headrace.calls import shape
from headrace.errors import BadRequestError
from headrace.gateway.admin.forms import TERMS, amount, dollars, duration, mapping, money, seconds, text
from headrace.gateway.callers import Role
from headrace.gateway.keys.holders import Holder, Member, Terms

BOUNDS: Final = ("max_budget", "budget_duration", "duration", "max_parallel_requests", "tpm_limit", "rpm_limit", "tpd_limit", "rpd_limit")
"""Fields of a key that may have an upper bound."""
_AMOUNTS: Final = tuple([name for name in BOUNDS if TERMS.get(name, ("", None))[1] is amount])
_UNSAID: Final[tuple[Any, ...]] = (None, [], {})


class DefaultTerms(Struct, frozen=True):
    """Terms that apply without being set on a holder."""

    together: Terms = Terms()
    """The budget of all calls together."""
    customer: Terms = Terms()
    """The terms of each end user who has none of its own."""
    key: Mapping[str, Any] = {}
    """Defaults for fields of a new key."""
    most: Terms = Terms()
    """Upper bounds for a key."""
    longest: float | None = None
    """Longest lifetime of a key in seconds."""
    user: Mapping[str, Any] = {}
    """Defaults for fields of a new user, except an administrator."""
    teams: tuple[tuple[str, Member], ...] = ()
    """The teams that a new user joins; the member's user id is left empty."""

    def new_key(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a new key, with defaults for omitted fields."""
        return _filled(form, self.key)

    def new_user(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a new user, with defaults for omitted fields."""
        return dict(form) if form.get("user_role") == Role.ADMIN.value else _filled(form, self.user)

    def bounded(self, key: Holder, before: Holder | None, now: float) -> Holder:
        """A key about to be stored, within the bounds. Omitted fields get the upper bound; values it already had stay.

        Raises BadRequestError naming the field.
        """
        terms = key.terms
        for name in ("max_budget", *_AMOUNTS):
            terms = self._held(terms, name, None if before is None else before.terms)
        terms = self._renewed(terms, None if before is None else before.terms, now)
        return replace(self._ending(key, before, now), terms=terms)

    def _held(self, terms: Terms, name: str, before: Terms | None) -> Terms:
        field = TERMS[name][0]
        said, most = getattr(terms, field), getattr(self.most, field)
        if most is None or (before is not None and said == getattr(before, field)):
            return terms
        if said is not None and said > most:
            raise _over(name, *((dollars(most), dollars(said)) if name == "max_budget" else (most, said)))
        return terms if said is not None else replace(terms, **{field: most})

    def _renewed(self, terms: Terms, before: Terms | None, now: float) -> Terms:
        """Terms whose budget period is within its bound."""
        most, said = self.most.budget_duration, terms.budget_duration
        if most is None or terms.budget is None or (before is not None and said == before.budget_duration):
            return terms
        if said is not None and seconds("budget_duration", said) > seconds("budget_duration", most):
            raise _over("budget_duration", most, said)
        return terms if said is not None else replace(terms, budget_duration=most, budget_since=now)

    def _ending(self, key: Holder, before: Holder | None, now: float) -> Holder:
        if self.longest is None or (before is not None and key.expires == before.expires):
            return key
        if key.expires is not None and key.expires > now + self.longest + 1:
            raise _over("duration", f"{self.longest:.0f}s", f"{key.expires - now:.0f}s")
        return key if key.expires is not None else replace(key, expires=now + self.longest)


NOTHING_SAID: Final = DefaultTerms()


def _over(name: str, most: Any, said: Any) -> BadRequestError:
    return BadRequestError(f"{name} may be at most {most} (litellm_settings.upperbound_key_generate_params), got {said}")


def _filled(form: Mapping[str, Any], default_terms: Mapping[str, Any]) -> dict[str, Any]:
    """A body with defaults for omitted fields.

    An explicit `budget_duration` of null stays; a duration without a budget is dropped.
    """
    said = {name: value for name, value in form.items() if name == "budget_duration" or value not in _UNSAID}
    filled = {**form, **default_terms, **said}
    if "budget_duration" not in form and filled.get("max_budget") is None:
        filled.pop("budget_duration", None)
    return filled


# ---- parsing
# ---------------------------------------------------------------------------------------------------------------------


def _dollars(name: str, value: Any) -> float:
    """Dollars, also as a string, which is what an environment variable has."""
    try:
        said = float(value) if isinstance(value, str) else value
    except ValueError:
        said = value
    return dollars(money(name, said))


def _form(name: str, value: Any, known: Mapping[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
    """Fields of a body, validated as the admin API would."""
    said = {word: given for word, given in mapping(name, value).items() if given is not None}
    for word, given in said.items():
        if word not in known:
            raise BadRequestError(f"{name}.{word} is not known; known: {', '.join(sorted(known))}")
        known[word](f"{name}.{word}", given)
    return said


def teams_of(name: str, value: Any) -> tuple[tuple[str, Member], ...]:
    """Parse `["team-1", {"team_id": "team-2", "user_role": "admin"}]`."""
    if not isinstance(value, list):
        raise BadRequestError(f"{name} must be a list of teams, got {shape(value)}")
    return tuple([_team(f"{name}[{number}]", one) for number, one in enumerate(value)])


def _team(name: str, given: Any) -> tuple[str, Member]:
    if isinstance(given, str):
        return text(name, given), Member("")
    said = _form(name, given, {"team_id": text, "user_role": text})
    if said.get("user_role", "user") not in ("user", "admin"):
        raise BadRequestError(f"{name}.user_role must be user or admin, got {said['user_role']!r}")
    return text(f"{name}.team_id", said.get("team_id")), Member("", said.get("user_role", "user"))


_WORDS: Final = {name: read for name, (_, read) in TERMS.items()}
_OF_KEY: Final = {**_WORDS, "duration": seconds, "user_id": text, "team_id": text}
_OF_BOUNDS: Final = {name: seconds if name == "duration" else _WORDS[name] for name in BOUNDS}
_OF_USER: Final = {**_WORDS, "teams": teams_of, "available_teams": teams_of}

DEFAULT_TERMS: Final[Mapping[str, tuple[Callable[[str, Any], Any], str]]] = {
    "max_budget": (_dollars, "Dollars that all calls together, including the master key's, may spend in each `budget_duration`."),
    "budget_duration": (duration, "Such as `30d`, counted from the first start with this setting. Default: never reset."),
    "max_end_user_budget": (_dollars, "Dollars that each end user (`user` in the body) without limits or a budget of its own may spend."),
    "max_end_user_budget_id": (text, "The budget (`/budget/new`) whose limits, amount and period apply to such end users."),
    "default_key_generate_params": (
        lambda name, value: _form(name, value, _OF_KEY), "Defaults for fields of a new key: `max_budget`, `models`, …"
    ),
    "upperbound_key_generate_params": (
        lambda name, value: _form(name, value, _OF_BOUNDS),
        "Upper bounds for fields of a key, which are also their defaults: " + ", ".join([f"`{name}`" for name in BOUNDS]) + ".",
    ),
    "default_internal_user_params": (
        lambda name, value: _form(name, value, _OF_USER),
        "Defaults for fields of a new user, unless the user is an administrator. `teams` lists the teams to join.",
    ),
    "max_internal_user_budget": (_dollars, "The default budget of such a user, in dollars."),
    "default_max_internal_user_budget": (_dollars, "LiteLLM's other name for `max_internal_user_budget`."),
    "internal_user_budget_duration": (duration, "The period of that budget, such as `30d`."),
}  # fmt: skip
"""Names in `litellm_settings`: their parsers and descriptions."""


def read_default_terms(given: Mapping[str, Any], wrong: Callable[[str], object]) -> DefaultTerms:
    """Parse these settings. wrong: called with each mistake."""
    said: dict[str, Any] = {}
    for name, (read, _) in DEFAULT_TERMS.items():
        value = given.get(name)
        if value is None or (name.endswith("max_budget") and value == 0):
            continue
        try:
            said[name] = read(f"litellm_settings.{name}", value)
        except BadRequestError as error:
            wrong(error.failure.message)
    bounds = dict(said.get("upperbound_key_generate_params", {}))
    longest = bounds.pop("duration", None)
    user = dict(said.get("default_internal_user_params", {}))
    user.pop("available_teams", None)  # teams that LiteLLM lets users join by themselves
    dollars_of_users = said.get("max_internal_user_budget", said.get("default_max_internal_user_budget"))
    own = {"max_budget": dollars_of_users, "budget_duration": said.get("internal_user_budget_duration")}
    return DefaultTerms(
        together=_terms({name: said.get(name) for name in ("max_budget", "budget_duration") if "max_budget" in said}),
        customer=_terms({name: said.get(f"max_end_user_{own}") for name, own in (("max_budget", "budget"), ("budget_id", "budget_id"))}),
        key=said.get("default_key_generate_params", {}),
        most=_terms(bounds),
        longest=None if longest is None else seconds("duration", longest),
        teams=teams_of("teams", user.pop("teams", [])),
        user={**{name: value for name, value in own.items() if value is not None}, **user},
    )


def _terms(form: Mapping[str, Any]) -> Terms:
    """Validated fields as terms."""
    read = {TERMS[name][0]: TERMS[name][1](name, value) for name, value in form.items() if value is not None}
    return Terms(**read)
