"""SAP AI Core's authentication: exchanges a service key for tokens, and finds the deployed orchestration.

help.sap.com/docs/sap-ai-core, as LiteLLM 1.106.2 has it. Keys with a certificate instead of a secret are not supported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from headrace.dialects.failures import read_error
from headrace.dialects.forms.sap import PLACE
from headrace.errors import AuthenticationError, ConfigurationError, error_of
from headrace.providers import exchange
from headrace.wire import HttpRequest

_VARIABLES: Final = {
    "client_id": "AICORE_CLIENT_ID",
    "client_secret": "AICORE_CLIENT_SECRET",
    "auth_url": "AICORE_AUTH_URL",
    "base_url": "AICORE_BASE_URL",
}


def found(key: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The options in a service key, or in the variables that replace one. Raises ConfigurationError for an invalid key."""
    key = key or environment.get("AICORE_SERVICE_KEY", "").strip()
    said = _taken_apart(key) if key else {name: environment[variable] for name, variable in _VARIABLES.items() if environment.get(variable)}
    group = environment.get("AICORE_RESOURCE_GROUP", "").strip()
    return {name: value.rstrip("/") for name, value in {**said, "resource_group": group}.items() if value}


def _taken_apart(key: str) -> dict[str, str]:
    try:
        told = msgspec.json.decode(key)
        told = told.get("credentials", told)
        urls = told["serviceurls"]
        return {
            "client_id": told["clientid"],
            "client_secret": told["clientsecret"],
            "auth_url": told["url"],
            "base_url": urls["AI_API_URL"],
        }
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        missing = f"it has no {error.args[0]}" if isinstance(error, KeyError) else "it is not a JSON object"
        raise ConfigurationError(f"sap: the key must be an SAP AI Core service key, but {missing}") from None


class Sap:
    """`signing.Credentials`. Loads a token and the URL of the newest deployed orchestration."""

    def __init__(self, options: Mapping[str, Any], wall: Callable[[], float], fetch: exchange.Fetch | None = None) -> None:
        self._options = {"resource_group": "default", **options}
        self._fetch = fetch or exchange.fetched
        self._wall = wall
        self._token = ""
        self._ends: float | None = None
        self._deployed = ""

    def load(self) -> None:
        missing = [name for name in _VARIABLES if name not in self._options]
        if missing:
            wanted = ", ".join(_VARIABLES[name] for name in missing)
            raise AuthenticationError(f"sap needs a service key: set AICORE_SERVICE_KEY, or {wanted}, or pass api_key=", "sap")
        self._token, self._ends = exchange.sap(self._options, self._fetch)
        self._deployed = self._deployed or self._found()

    def _found(self) -> str:
        """The URL of the newest deployed orchestration."""
        place = f"{exchange.with_end(self._options['base_url'], '/v2')}/lm/deployments?scenarioId=orchestration&status=RUNNING"
        response = self._fetch(HttpRequest("GET", place, self._headers()))
        if response.status >= 300:
            raise error_of(read_error(response, provider="sap", model=""))
        running = msgspec.json.decode(response.body).get("resources") or ()
        known = [it for it in running if it.get("scenarioId") == "orchestration" and it.get("deploymentUrl")]
        if not known:
            raise ConfigurationError(
                f"sap: no orchestration is deployed in resource group {self._options['resource_group']!r}: "
                "deploy one, or name another group in AICORE_RESOURCE_GROUP"
            )
        return str(max(known, key=lambda it: str(it.get("createdAt")))["deploymentUrl"]).rstrip("/")

    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token}"), ("ai-resource-group", self._options["resource_group"]))

    def forget(self) -> None:
        self._token = self._deployed = ""

    def left(self) -> float:
        if not (self._token and self._deployed):
            return 0.0
        return float("inf") if self._ends is None else max(0.0, self._ends - self._wall())

    def apply(self, request: HttpRequest) -> HttpRequest:
        before, mark, after = request.url.partition(PLACE)
        url = self._deployed + after if mark else before
        kept = tuple(pair for pair in request.headers if pair[0].lower() not in ("authorization", "ai-resource-group"))
        return msgspec.structs.replace(request, url=url, headers=(*kept, *self._headers()))
