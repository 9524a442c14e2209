"""Which paths are served, and to whom."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.conftest import CHAT, KEY, router_over, serving
from tests.gateway.persistence import Gateway, kept, priced

from headrace.gateway.config import Settings
from headrace.gateway.general import read_general
from headrace.gateway.permissions import is_among
from headrace.gateway.persistence import Where


@pytest.mark.parametrize(
    ("routes", "path", "among"),
    [
        (["/v1/chat/completions"], "/v1/chat/completions", True),
        (["/v1/chat/completions"], "/openai/v1/chat/completions", True),
        (["/chat/completions"], "/v1/chat/completions", True),
        (["/v1/chat/completions"], "/v1/completions", False),
        (["/v1/*"], "/v1/models", True),
        (["/key/*"], "/key/info", True),
        (["openai_routes"], "/v1/responses", True),
        (["openai_routes"], "/v1/messages", False),
        (["anthropic_routes"], "/v1/messages", True),
        (["google_routes"], "/v1beta/models/gemini:generateContent", True),
        (["llm_api_routes"], "/model/claude/converse", True),
        (["llm_api_routes"], "/model/info", False),
        (["llm_api_routes"], "/", False),
        (["info_routes"], "/model/info", True),
        (["info_routes"], "/key/generate", False),
        (["management_routes"], "/key/generate", True),
        (["management_routes"], "/spend/logs", False),
        (["spend_tracking_routes"], "/spend/logs", True),
        (["global_spend_tracking_routes"], "/global/spend", True),
        (["public_routes"], "/health/readiness", True),
    ],
)
def test_a_path_is_among_those_that_are_named(routes: list[str], path: str, among: bool) -> None:
    assert is_among(routes, path) is among


@pytest.mark.usefixtures("nobody_else_listens")
def test_only_the_paths_that_are_allowed_are_there(upstream: object) -> None:
    with serving(router_over(str(upstream)), Settings(key=KEY, routes=("/v1/models", "/health/*"))) as base:
        gateway = Gateway(base, None)  # type: ignore[arg-type]
        gateway.ask("/models")
        for _ in range(3):  # known heads take the fast path
            gateway.ask("/v1/chat/completions", {**CHAT, "model": "gpt"}, status=403)
        gateway.ask("/health/liveliness")


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_paths_for_administrators_are_closed_to_others(upstream: object, at: Where) -> None:
    settings = Settings(key=KEY, keep_alive=0.2, admin_routes=("/v1/embeddings", "/v1/models"))
    with kept(priced(upstream), at, settings) as opened:
        gateway = Gateway(*opened)
        key = gateway.key()
        gateway.chat(key)
        gateway.ask("/v1/models", key=key, status=403)
        assert "for administrators" in gateway.ask("/embeddings", {"model": "gpt", "input": "x"}, key, 403)["error"]["message"]
        gateway.ask("/v1/models")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"allowed_routes": "/v1/models"}, "general_settings.allowed_routes must be a list of strings"),
        ({"admin_only_routes": ["no_such_routes"]}, "general_settings.admin_only_routes: 'no_such_routes' is neither a path"),
        ({"role_permissions": {}}, "general_settings.role_permissions must be a list of roles"),
        ({"role_permissions": [{"role": "king"}]}, "general_settings.role_permissions[0].role must be one of proxy_admin, team"),
        ({"role_permissions": [{"role": "team", "budget": 5}]}, "general_settings.role_permissions[0].budget is not known"),
        (
            {"role_permissions": [{"role": "team", "models": "gpt"}]},
            "general_settings.role_permissions[0].models must be a list of strings",
        ),
    ],
)
def test_permissions_that_cannot_be_are_named(given: dict[str, Any], said: str) -> None:
    wrong: list[str] = []
    read_general(given, wrong.append)
    assert wrong[0].startswith(said)
