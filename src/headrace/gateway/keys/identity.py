"""Tokens of an identity provider (OIDC, JWT) in the place of virtual keys: checked with PyJWT against the provider's public keys."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.calls import shape
from headrace.errors import ConfigurationError, HeadraceError, Kind
from headrace.gateway.requests import refusal

URLS: Final = "JWT_PUBLIC_KEY_URL"
AUDIENCE: Final = "JWT_AUDIENCE"
ISSUER: Final = "JWT_ISSUER"

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key that the provider alone has. One by a shared secret could be made by whoever knows the public key."""
PATIENCE: Final = 10.0
"""Seconds to wait for the provider's keys."""
AGAIN: Final = 10.0
"""Seconds before a key that is not among them is looked for once more: whoever invents key ids must not have us ask each time."""
LEEWAY: Final = 30.0
"""Seconds by which clocks may differ."""


class Fields(Struct, frozen=True):
    """Where in a token things stand, in LiteLLM's words (`litellm_jwtauth`). `a.b` is a claim inside a claim."""

    user_id_jwt_field: str = "sub"
    user_email_jwt_field: str = "email"
    team_id_jwt_field: str | None = None
    team_id_default: str | None = None
    user_allowed_email_domain: str | None = None
    admin_jwt_scope: str = "litellm_proxy_admin"
    """Whose token has this scope administers."""
    public_key_ttl: float = 600.0
    """Seconds for which the provider's keys are kept."""


class Identity(Struct, frozen=True):
    """What a token that was checked says."""

    user: str
    email: str
    team: str
    admin: bool
    ends: float
    """Seconds since 1970."""


def identities(environment: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Identities:
    """Whom to trust: the environment's JWT_PUBLIC_KEY_URL, JWT_AUDIENCE and JWT_ISSUER. given: `litellm_jwtauth`.

    Raises ConfigurationError that names what is missing.
    """
    try:
        import jwt as _jwt  # late: an optional package
    except ImportError:
        raise ConfigurationError('enable_jwt_auth needs one more package: pip install "headrace[jwt]"') from None
    urls = [url.strip() for url in environment.get(URLS, "").split(",") if url.strip()]
    audience = [name.strip() for name in environment.get(AUDIENCE, "").split(",") if name.strip()]
    if not urls:
        raise ConfigurationError(f"enable_jwt_auth needs {URLS}: the address of the provider's keys (its jwks_uri)")
    if not audience:
        raise ConfigurationError(f"enable_jwt_auth needs {AUDIENCE}: a token that was made for another program must not open this one")
    return Identities(_jwt, urls, audience, environment.get(ISSUER) or None, _fields(given or {}))


def _fields(given: Mapping[str, Any]) -> Fields:
    unknown = [name for name in given if name not in Fields.__struct_fields__]
    if unknown:
        raise ConfigurationError(f"litellm_jwtauth: {unknown[0]} means nothing here; known are {', '.join(Fields.__struct_fields__)}")
    for name, value in given.items():
        kind, called = (int | float, "number") if name == "public_key_ttl" else (str, "text")
        if not isinstance(value, kind):
            raise ConfigurationError(f"litellm_jwtauth.{name} must be a {called}, got {shape(value)}")
    return Fields(**given)


class Identities:
    """Reads tokens of the providers it was told to trust."""

    def __init__(self, jwt: Any, urls: Sequence[str], audience: Sequence[str], issuer: str | None, fields: Fields) -> None:
        self._jwt = jwt
        self._urls = urls
        self._audience = list(audience)
        self._issuer = issuer
        self._fields = fields
        self._keys: dict[str | None, Any] = {}
        self._fetched = self._asked = -math.inf
        self._fetching = asyncio.Lock()

    @staticmethod
    def may_read(token: str) -> bool:
        """Whether it looks like one."""
        return token.count(".") == 2 and token.startswith("ey")

    async def read(self, token: str) -> Identity:
        """What a token says. Raises a refusal with status 401 or 403 for one that is not to be believed."""
        try:
            key = await self._key(self._jwt.get_unverified_header(token).get("kid"))
            claims = self._jwt.decode(
                token, key, algorithms=list(ALGORITHMS), audience=self._audience, issuer=self._issuer, leeway=LEEWAY,
                options={"require": ["exp", "aud"]},
            )  # fmt: skip
        except self._jwt.ExpiredSignatureError:
            raise _refused("the token has expired") from None
        except (self._jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused(f"the token is not one of ours: {type(error).__name__}") from None
        return self._identity(claims)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        fields = self._fields
        user, email = _text(claims, fields.user_id_jwt_field), _text(claims, fields.user_email_jwt_field)
        if not user:
            raise _refused(f"the token has no {fields.user_id_jwt_field}")
        domain = fields.user_allowed_email_domain
        if domain is not None and email.rpartition("@")[2].lower() != domain.lower():
            raise refusal(403, Kind.PERMISSION, f"tokens of {domain} alone are let in")
        team = _text(claims, fields.team_id_jwt_field) if fields.team_id_jwt_field else ""
        return Identity(user, email, team or fields.team_id_default or "", fields.admin_jwt_scope in _scopes(claims), float(claims["exp"]))

    async def _key(self, kid: str | None) -> Any:
        """The public key of that id. Raises a refusal where the provider has none, or is not to be reached."""
        now = time.monotonic()
        if kid not in self._keys or now - self._fetched > self._fields.public_key_ttl:
            async with self._fetching:
                if now - self._asked > AGAIN:
                    await self._fetch(now)
        if kid not in self._keys:
            raise _refused("the token's key is not among its provider's")
        return self._keys[kid]

    async def _fetch(self, now: float) -> None:
        """The providers' keys. One that does not answer leaves those that are known."""
        self._asked = now
        try:
            found = await asyncio.gather(*[asyncio.to_thread(self._fetched_from, url) for url in self._urls])
        except self._jwt.PyJWTError as error:
            if not self._keys:
                raise refusal(503, Kind.SERVER, f"the identity provider's keys are not to be had: {type(error).__name__}") from None
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


def _scopes(claims: Mapping[str, Any]) -> Sequence[str]:
    said = claims.get("scope") or claims.get("scp") or ()
    return said.split() if isinstance(said, str) else [one for one in said if isinstance(one, str)]
