"""Tokens of an identity provider (OIDC, JWT) in place of virtual keys, verified with PyJWT against the provider's public keys."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.calls import flag, shape
from headrace.errors import ConfigurationError, HeadraceError, Kind
from headrace.gateway.callers import Role
from headrace.gateway.permissions import ROLES, Permission, read_names
from headrace.gateway.requests import refusal

URLS: Final = "JWT_PUBLIC_KEY_URL"
AUDIENCE: Final = "JWT_AUDIENCE"
ISSUER: Final = "JWT_ISSUER"

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric signatures only: if HMAC were allowed, whoever knows the public key could forge a token."""
PATIENCE: Final = 10.0
"""Seconds to wait for the provider's keys."""
AGAIN: Final = 10.0
"""Seconds before an unknown key id causes another fetch, so that invented key ids do not cause a fetch each."""
LEEWAY: Final = 30.0
"""Tolerated clock skew in seconds."""


class Fields(Struct, frozen=True):
    """Which claims to read, in LiteLLM's names (`litellm_jwtauth`). `a.b` is a claim nested in a claim."""

    user_id_jwt_field: str = "sub"
    user_email_jwt_field: str = "email"
    team_id_jwt_field: str | None = None
    team_id_default: str | None = None
    user_allowed_email_domain: str | None = None
    object_id_jwt_field: str | None = None
    """The claim with the user or team to whom `role_mappings` assigns a token."""
    roles_jwt_field: str | None = None
    role_mappings: tuple[tuple[str, str], ...] = ()
    """Roles in tokens, and to whom they assign a token: `team`, `internal_user` or `proxy_admin`."""
    jwt_litellm_role_map: tuple[tuple[str, str], ...] = ()
    """Roles in tokens, and the gateway's roles for them."""
    user_roles_jwt_field: str | None = None
    user_allowed_roles: tuple[str, ...] = ()
    """A token with one of these roles belongs to its user."""
    enforce_rbac: bool = False
    """Whether a token that says nothing about whom it belongs to is refused."""
    scope_mappings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Scopes, and the models they allow."""
    enforce_scope_based_access: bool = False
    """Whether no other models are allowed."""
    admin_jwt_scope: str = "litellm_proxy_admin"
    """A token with this scope is an administrator's."""
    public_key_ttl: float = 600.0
    """Seconds for which the provider's keys are cached."""


EVERYTHING: Final = Permission("")


class Identity(Struct, frozen=True):
    """The content of a verified token."""

    user: str
    email: str
    team: str
    ends: float
    """Unix seconds."""
    role: Role | None = None
    """None for the role of its user."""
    models: tuple[tuple[str, ...], ...] = ()
    """As in `Caller.models`."""
    routes: tuple[str, ...] | None = None


def identities(
    environment: Mapping[str, str], given: Mapping[str, Any] | None = None, permissions: Sequence[Permission] = ()
) -> Identities:
    """The identity providers to trust, from JWT_PUBLIC_KEY_URL, JWT_AUDIENCE and JWT_ISSUER in `environment`.

    given: `litellm_jwtauth`. permissions: what tokens may do, by whom they belong to. Raises ConfigurationError naming
    what is missing.
    """
    try:
        import jwt as _jwt  # late: an optional package
    except ImportError:
        raise ConfigurationError('enable_jwt_auth needs one more package: pip install "headrace[jwt]"') from None
    urls = [url.strip() for url in environment.get(URLS, "").split(",") if url.strip()]
    audience = [name.strip() for name in environment.get(AUDIENCE, "").split(",") if name.strip()]
    if not urls:
        raise ConfigurationError(f"enable_jwt_auth needs {URLS}: the URL of the identity provider's public keys (its jwks_uri)")
    if not audience:
        raise ConfigurationError(f"enable_jwt_auth needs {AUDIENCE}: without it, tokens issued for other programs would be accepted")
    return Identities(_jwt, urls, audience, environment.get(ISSUER) or None, _fields(given or {}), permissions)


def _fields(given: Mapping[str, Any]) -> Fields:
    unknown = [name for name in given if name not in Fields.__struct_fields__]
    if unknown:
        raise ConfigurationError(f"litellm_jwtauth: {unknown[0]} is not known; known: {', '.join(Fields.__struct_fields__)}")
    read: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            reader: Callable[[str, Any], Any] = _READ.get(name, _said)
            read[name] = reader(f"litellm_jwtauth.{name}", value)
    return Fields(**read)


def _said(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"{where} must be a string, got {shape(value)}")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{where} must be a number, got {shape(value)}")
    return float(value)


def _pairs(first: str, second: str, known: Sequence[str]) -> Callable[[str, Any], tuple[tuple[str, str], ...]]:
    """Returns a reader of `[{first: …, second: …}]`. known: the allowed values of `second`."""

    def read(where: str, value: Any) -> tuple[tuple[str, str], ...]:
        entries = value if isinstance(value, list) else []
        found: list[Any] = [(one.get(first), one.get(second)) for one in entries if isinstance(one, Mapping)]
        if not found or len(found) < len(entries) or not all(isinstance(one, str) and other in known for one, other in found):
            raise ConfigurationError(f"{where} must be a list like [{{{first}: …, {second}: {known[-1]}}}] with one of {', '.join(known)}")
        return tuple(found)

    return read


def _scoped(where: str, value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, list) or not all(isinstance(one, Mapping) and not one.keys() - {"scope", "models"} for one in value):
        raise ConfigurationError(f"{where} must be a list like [{{scope: …, models: [gpt-*]}}], got {shape(value)}")
    return tuple([(_said(f"{where}.scope", one.get("scope")), read_names(f"{where}.models", one.get("models"))) for one in value])


_READ: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "public_key_ttl": _number,
    "role_mappings": _pairs("role", "internal_role", ROLES),
    "jwt_litellm_role_map": _pairs("jwt_role", "litellm_role", [role.value for role in Role]),
    "user_allowed_roles": read_names,
    "scope_mappings": _scoped,
    "enforce_rbac": flag,
    "enforce_scope_based_access": flag,
}


class Identities:
    """Reads tokens of the trusted identity providers."""

    def __init__(
        self, jwt: Any, urls: Sequence[str], audience: Sequence[str], issuer: str | None, fields: Fields, permissions: Sequence[Permission]
    ) -> None:
        self._jwt = jwt
        self._permissions = {one.role: one for one in permissions}
        self._urls = urls
        self._audience = list(audience)
        self._issuer = issuer
        self._fields = fields
        self._keys: dict[str | None, Any] = {}
        self._fetched = self._asked = -math.inf
        self._fetching = asyncio.Lock()

    @staticmethod
    def may_read(token: str) -> bool:
        """Whether it looks like a JWT."""
        return token.count(".") == 2 and token.startswith("ey")

    async def read(self, token: str) -> Identity:
        """The content of a token. Raises a refusal with status 401 or 403 if it is invalid or not accepted."""
        try:
            key = await self._key(self._jwt.get_unverified_header(token).get("kid"))
            claims = self._jwt.decode(
                token, key, algorithms=list(ALGORITHMS), audience=self._audience, issuer=self._issuer, leeway=LEEWAY,
                options={"require": ["exp", "aud"]},
            )  # fmt: skip
        except self._jwt.ExpiredSignatureError:
            raise _refused("the token has expired") from None
        except (self._jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused(f"the token is not valid: {type(error).__name__}") from None
        return self._identity(claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        fields, scopes = self._fields, _scopes(claims)
        user, email = _text(claims, fields.user_id_jwt_field), _text(claims, fields.user_email_jwt_field)
        claimed = _text(claims, fields.team_id_jwt_field) if fields.team_id_jwt_field else ""
        team, roles = claimed or fields.team_id_default or "", _texts(claims, fields.roles_jwt_field)
        whose = self._whose(claims, scopes, roles, claimed)
        if object := _text(claims, fields.object_id_jwt_field) if fields.object_id_jwt_field else "":
            user, team = (user, team or object) if whose == "team" else (object, team)
        if not user and whose != "team":
            raise _refused(f"the token has no {fields.user_id_jwt_field}")
        domain = fields.user_allowed_email_domain
        if domain is not None and email.rpartition("@")[2].lower() != domain.lower():
            raise refusal(403, Kind.PERMISSION, f"only tokens with an email address at {domain} are accepted")
        may = self._permissions.get(whose, EVERYTHING)
        opened = [model for scope, models in fields.scope_mappings if scope in scopes for model in models]
        models = [may.models] if may.models is not None else []
        models += [tuple(opened)] if fields.enforce_scope_based_access and whose != "proxy_admin" else []
        mapped = next((role for said, role in fields.jwt_litellm_role_map if said in roles), None)
        role = Role.ADMIN if whose == "proxy_admin" else None if mapped is None else Role(mapped)
        return Identity(user, email, team, float(claims["exp"]), role, tuple(models), may.routes)

    def _whose(self, claims: Mapping[str, Any], scopes: Sequence[str], roles: Sequence[str], team: str) -> str:
        """To whom a token belongs: `proxy_admin`, `team` or `internal_user`. Raises a refusal if it must say so and does not."""
        fields = self._fields
        if fields.admin_jwt_scope in scopes:
            return "proxy_admin"
        if team:
            return "team"
        if mapped := next((role for said, role in fields.role_mappings if said in roles), ""):
            return mapped
        allowed = not frozenset(fields.user_allowed_roles).isdisjoint(_texts(claims, fields.user_roles_jwt_field))
        if fields.enforce_rbac and not allowed and (fields.role_mappings or fields.user_allowed_roles):
            raise refusal(403, Kind.PERMISSION, "the token has no accepted role (litellm_jwtauth.enforce_rbac)")
        return "internal_user"

    async def _key(self, kid: str | None) -> Any:
        """The public key with that id. Raises a refusal if the provider has none or cannot be reached."""
        now = time.monotonic()
        if kid not in self._keys or now - self._fetched > self._fields.public_key_ttl:
            async with self._fetching:
                if now - self._asked > AGAIN:
                    await self._fetch(now)
        if kid not in self._keys:
            raise _refused("the identity provider has no key with the token's key id")
        return self._keys[kid]

    async def _fetch(self, now: float) -> None:
        """Fetch the providers' keys. If a fetch fails, the known keys stay."""
        self._asked = now
        try:
            found = await asyncio.gather(*[asyncio.to_thread(self._fetched_from, url) for url in self._urls])
        except self._jwt.PyJWTError as error:
            if not self._keys:
                raise refusal(503, Kind.SERVER, f"the identity provider's keys could not be fetched: {type(error).__name__}") from None
            return
        self._keys = {key.key_id: key for keys in found for key in keys}
        self._fetched = now

    def _fetched_from(self, url: str) -> Sequence[Any]:
        keys: Sequence[Any] = self._jwt.PyJWKClient(url, cache_jwk_set=False, timeout=PATIENCE).get_signing_keys()
        return keys


def _refused(message: str) -> HeadraceError:
    return refusal(401, Kind.AUTHENTICATION, message)


def _text(claims: Mapping[str, Any], field: str) -> str:
    value: Any = claims
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) else ""


def _texts(claims: Mapping[str, Any], field: str | None) -> Sequence[str]:
    value: Any = claims
    for name in field.split(".") if field else ():
        value = value.get(name) if isinstance(value, Mapping) else None
    return [value] if isinstance(value, str) else [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _scopes(claims: Mapping[str, Any]) -> Sequence[str]:
    said = claims.get("scope") or claims.get("scp") or ()
    return said.split() if isinstance(said, str) else [one for one in said if isinstance(one, str)]
