"""Tokens of an identity provider instead of keys: really signed, with the public keys served by a real server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.gateway.conftest import KEY
from tests.gateway.persistence import Gateway, kept, priced

from headrace.errors import ConfigurationError
from headrace.gateway.config import Settings
from headrace.gateway.keys.identity import identities
from headrace.gateway.permissions import read_permissions
from headrace.gateway.persistence import Where

AUDIENCE = "api://headrace"


class Provider:
    """An identity provider: signs, and hands out its public keys."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked = 0
        self.kid = "k1"
        provider = self

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(provider.key.public_key()))
                body = json.dumps({"keys": [{**public, "kid": provider.kid, "use": "sig"}]}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def token(self, *, kid: str = "k1", key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        said = {"sub": "ann", "aud": AUDIENCE, "iss": "https://id.example", "exp": time.time() + 600, **claims}
        given = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(given, self.key if key is None else key, algorithm=algorithm, headers={"kid": kid})


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.server.shutdown()
    found.server.server_close()


def environment(provider: Provider) -> dict[str, str]:
    return {"JWT_PUBLIC_KEY_URL": provider.url, "JWT_AUDIENCE": AUDIENCE, "JWT_ISSUER": "https://id.example"}


@pytest.fixture
def gateway(provider: Provider, upstream: object, tmp_path: Any) -> Iterator[Gateway]:
    trusted = identities(environment(provider), {"team_id_jwt_field": "org.team"})
    with kept(priced(upstream), Where(f"sqlite:///{tmp_path / 'h.db'}", tmp_path), Settings(key=KEY), identities=trusted) as (base, state):
        yield Gateway(base, state)


def test_a_token_calls_as_its_user_and_is_recorded_so(gateway: Gateway, provider: Provider) -> None:
    asked = provider.asked
    for _ in range(3):
        gateway.chat(provider.token(email="ann@example.com"))
    assert provider.asked - asked <= 1
    assert {(call["user"], call["metadata"]["user_api_key_alias"]) for call in gateway.ask("/spend/logs")} == {("ann", "ann@example.com")}


def test_user_and_team_of_a_token_bind_it(gateway: Gateway, provider: Provider) -> None:
    gateway.ask("/user/new", {"user_id": "ann", "rpm_limit": 1, "auto_create_key": False})
    gateway.ask("/team/new", {"team_id": "blue", "models": ["gpt"]})
    token = provider.token(org={"team": "blue"})
    gateway.chat(token)
    assert "'slow'" in gateway.chat(token, 403, model="slow")["error"]["message"]
    gateway.chat(provider.token(org={"team": "blue"}, jti="another"), 429, max_wait=0)
    assert "which does not exist" in gateway.chat(provider.token(org={"team": "nobody's"}), 403)["error"]["message"]
    gateway.ask("/user/update", {"user_id": "ann", "rpm_limit": 50})
    gateway.chat(token, max_wait=0)


def test_an_administrator_s_scope_administers(gateway: Gateway, provider: Provider) -> None:
    gateway.key(key_alias="ci")
    assert "proxy_admin" in gateway.ask("/key/list", key=provider.token(), status=403)["error"]["message"]
    assert gateway.ask("/key/list", key=provider.token(scope="openid litellm_proxy_admin"))["total_count"] == 1


def hmac_with_the_public_key(provider: Provider) -> str:
    """The old trick: the public key, known to all, as the secret of a symmetric signature."""
    public = provider.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "k1"}, {"sub": "ann", "aud": AUDIENCE, "exp": time.time() + 600}]
    body = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.new(public, body, hashlib.sha256).digest()).rstrip(b"=")
    return (body + b"." + signature).decode()


STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "forged",
    [
        lambda provider: provider.token(exp=time.time() - 100),
        lambda provider: provider.token(aud="another program"),
        lambda provider: provider.token(iss="https://evil.example"),
        lambda provider: provider.token(key=STRANGER),
        lambda provider: provider.token(kid="unknown"),
        lambda provider: provider.token(sub=None),
        lambda provider: provider.token(exp=None),
        lambda provider: provider.token(key="", algorithm="none"),
        hmac_with_the_public_key,
        lambda provider: "eyJhbGciOiJSUzI1NiJ9.e30.",
        lambda provider: "ey..",
    ],
)
def test_a_token_that_is_not_to_be_believed_lets_nobody_in(gateway: Gateway, provider: Provider, forged: Callable[[Provider], str]) -> None:
    token = forged(provider)
    said = gateway.chat(token, 401)["error"]["message"]
    assert token not in said


def test_invented_key_ids_do_not_have_the_provider_asked_each_time(gateway: Gateway, provider: Provider) -> None:
    gateway.chat(provider.token())
    asked = provider.asked
    for number in range(10):
        gateway.chat(provider.token(kid=f"invented-{number}"), 401)
    assert provider.asked - asked <= 1


@pytest.mark.parametrize(
    ("given", "fields", "said"),
    [
        ({}, {}, "JWT_PUBLIC_KEY_URL"),
        ({"JWT_PUBLIC_KEY_URL": "http://127.0.0.1/keys"}, {}, "JWT_AUDIENCE"),
        ({"JWT_PUBLIC_KEY_URL": "http://127.0.0.1/keys", "JWT_AUDIENCE": "a"}, {"team_field": "x"}, "team_field"),
        ({"JWT_PUBLIC_KEY_URL": "http://127.0.0.1/keys", "JWT_AUDIENCE": "a"}, {"public_key_ttl": "x"}, "public_key_ttl"),
    ],
)
def test_what_is_missing_is_named_at_start(given: dict[str, str], fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        identities(given, fields)


def test_an_identity_provider_that_is_away_is_said(upstream: object, tmp_path: Any, provider: Provider) -> None:
    trusted = identities({**environment(provider), "JWT_PUBLIC_KEY_URL": "http://127.0.0.1:1/keys"})
    with kept(priced(upstream), Where(f"sqlite:///{tmp_path / 'h.db'}", tmp_path), Settings(key=KEY), identities=trusted) as (base, state):
        assert "could not be fetched" in Gateway(base, state).chat(provider.token(), 503)["error"]["message"]


def trusting(provider: Provider, fields: dict[str, Any], *permissions: Any) -> Any:
    return identities(environment(provider), fields, read_permissions("role_permissions", list(permissions)))


@contextmanager
def letting_in(provider: Provider, upstream: object, folder: Any, fields: dict[str, Any], *permissions: Any) -> Iterator[Gateway]:
    trusted = trusting(provider, fields, *permissions)
    at = Where(f"sqlite:///{folder / 'h.db'}", folder)
    with kept(priced(upstream), at, Settings(key=KEY, keep_alive=0.2), identities=trusted) as (base, state):
        yield Gateway(base, state)


CONSUMERS = {
    "object_id_jwt_field": "oid", "roles_jwt_field": "realm.roles", "enforce_rbac": True,
    "role_mappings": [{"role": "consumer", "internal_role": "team"}, {"role": "root", "internal_role": "proxy_admin"}],
}  # fmt: skip


def test_a_tokens_role_says_whose_it_is_and_what_it_may_do(provider: Provider, upstream: object, tmp_path: Any) -> None:
    allowed = {"role": "team", "models": ["gpt"], "routes": ["/v1/chat/completions", "info_routes"]}
    with letting_in(provider, upstream, tmp_path, CONSUMERS, allowed) as gateway:
        gateway.ask("/team/new", {"team_id": "t-7"})
        consumer = provider.token(sub=None, oid="t-7", realm={"roles": ["other", "consumer"]})
        for _ in range(3):  # known heads take the fast path
            gateway.chat(consumer)
        gateway.chat(consumer, 403, model="slow")
        assert "may not use" in gateway.ask("/v1/responses", {"model": "gpt", "input": "hi"}, consumer, 403)["error"]["message"]
        gateway.ask("/openai/v1/embeddings", {"model": "gpt", "input": "hi"}, consumer, 403)
        assert gateway.ask("/team/info", key=consumer)["team_id"] == "t-7"
        assert {call["team_id"] for call in gateway.ask("/spend/logs")} == {"t-7"}
        assert "no accepted role" in gateway.chat(provider.token(realm={"roles": ["other"]}), 403)["error"]["message"]
        gateway.chat(provider.token(sub=None, oid="no-team", realm={"roles": ["consumer"]}), 403)
        gateway.ask("/key/list", key=provider.token(realm={"roles": ["root"]}))
        gateway.ask("/key/list", key=consumer, status=403)


def test_a_scope_opens_its_models_and_no_others(provider: Provider, upstream: object, tmp_path: Any) -> None:
    fields = {"enforce_scope_based_access": True, "scope_mappings": [{"scope": "small", "models": ["gpt"]}]}
    with letting_in(provider, upstream, tmp_path, fields) as gateway:
        gateway.chat(provider.token(scope="openid small"))
        gateway.chat(provider.token(scope="openid small"), 403, model="slow")
        gateway.chat(provider.token(scope="openid"), 403)
        gateway.chat(provider.token(scope="litellm_proxy_admin"), model="gpt")


@pytest.mark.parametrize(
    ("role", "lists", "calls"), [("proxy_admin", 200, 200), ("proxy_admin_viewer", 200, 403), ("internal_user_viewer", 403, 403)]
)
def test_a_tokens_role_is_one_of_the_gateways(
    provider: Provider, upstream: object, tmp_path: Any, role: str, lists: int, calls: int
) -> None:
    fields = {"roles_jwt_field": "groups", "jwt_litellm_role_map": [{"jwt_role": "them", "litellm_role": role}]}
    with letting_in(provider, upstream, tmp_path, fields) as gateway:
        token = provider.token(groups=["them"])
        gateway.ask("/key/list", key=token, status=lists)
        gateway.chat(token, calls)
        gateway.chat(provider.token(groups=["others"]))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"role_mappings": [{"role": "a", "internal_role": "king"}]}, "litellm_jwtauth.role_mappings must be a list like"),
        ({"jwt_litellm_role_map": {}}, "litellm_jwtauth.jwt_litellm_role_map must be a list like"),
        ({"scope_mappings": [{"scope": "a", "routes": []}]}, "litellm_jwtauth.scope_mappings must be a list like"),
        ({"enforce_rbac": "perhaps"}, "litellm_jwtauth.enforce_rbac must be true or false"),
        ({"user_allowed_roles": "a"}, "litellm_jwtauth.user_allowed_roles must be a list of strings"),
    ],
)
def test_roles_that_cannot_be_are_named(provider: Provider, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        trusting(provider, fields)
