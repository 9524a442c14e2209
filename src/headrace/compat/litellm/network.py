"""`litellm.client_session`, `aclient_session` and `ssl_verify`: a program's own HTTP client and certificate verification."""

from __future__ import annotations

import inspect
import os
from functools import lru_cache
from typing import Any

import msgspec

from headrace.calls import Call, shape
from headrace.compat.litellm.stand_in import setting
from headrace.errors import BadRequestError, ConfigurationError
from headrace.ports import Ports, Transport
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.worlds import RealWorlds


def by_their_client(ports: Ports, call: Call) -> tuple[Ports, Call]:
    """The ports with the program's own HTTP client or verification, if configured or passed as `client`."""
    given = call.control.get("client")
    if given is None:
        return _standing(ports), call
    control = {name: value for name, value in call.control.items() if name != "client"}
    session, theirs = _session_of(given, ports.blocking)
    call = msgspec.structs.replace(call, control={**theirs, **control})
    return msgspec.structs.replace(ports, transport=_over(session, ports.blocking)), call


def _session_of(client: Any, blocking: bool) -> tuple[Any, dict[str, Any]]:
    """The httpx client inside litellm's HTTP handlers or an OpenAI SDK client, and the latter's base URL, key and other call options."""
    session = getattr(client, "_client", None) or getattr(client, "client", None) or client
    if not hasattr(session, "send") or inspect.iscoroutinefunction(session.send) is blocking:
        form = "a blocking" if blocking else "an async"
        raise BadRequestError(f"client must be {form} client of OpenAI's SDK, of httpx or of litellm (HTTPHandler), got {shape(client)}")
    said = {"base_url": getattr(client, "base_url", None), "api_key": getattr(client, "api_key", None)}
    said |= {"organization": getattr(client, "organization", None), "api_version": getattr(client, "_api_version", None)}
    of_sdk = hasattr(client, "chat") and said["base_url"] is not None
    return session, {name: str(value) for name, value in said.items() if value} if of_sdk else {}


def _standing(ports: Ports) -> Ports:
    """The ports as the module's settings configure them."""
    session = setting("client_session" if ports.blocking else "aclient_session")
    if session is not None:
        return msgspec.structs.replace(ports, transport=_over(session, ports.blocking))
    verify = setting("ssl_verify")
    if verify is None or verify is True:
        return ports
    worlds = _worlds(_verification(verify))
    return msgspec.structs.replace(ports, transport=(worlds.blocking() if ports.blocking else worlds.suspending()).transport)


def _verification(verify: Any) -> Any:
    """False, True, or the path of CA certificates; accepts strings as environment variables have them."""
    if isinstance(verify, str) and verify.strip().lower() in ("true", "false"):
        return verify.strip().lower() == "true"
    if isinstance(verify, str) and not os.path.exists(verify):
        raise ConfigurationError("litellm.ssl_verify names a certificate file that does not exist")
    return verify


@lru_cache(maxsize=8)
def _worlds(verify: Any) -> RealWorlds:
    return RealWorlds(HttpSettings(verify=verify))


@lru_cache(maxsize=8)
def _over(session: Any, blocking: bool) -> Transport:
    from headrace.runtime.httpx2_transport import AsyncHttpx2Transport, SyncHttpx2Transport  # late: few programs bring a client

    return SyncHttpx2Transport(session) if blocking else AsyncHttpx2Transport(session)
