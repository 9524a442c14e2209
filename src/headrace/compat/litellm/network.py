"""`litellm.client_session`, `aclient_session` and `ssl_verify`: by which client calls go out, and whose certificates they trust."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import msgspec

from headrace.compat.litellm.stand_in import setting
from headrace.errors import ConfigurationError
from headrace.ports import Ports, Transport
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.worlds import RealWorlds


def by_their_client(ports: Ports) -> Ports:
    """The ports with the program's own HTTP client, or its own way to verify, where it set one."""
    session = setting("client_session" if ports.blocking else "aclient_session")
    if session is not None:
        return msgspec.structs.replace(ports, transport=_over(session, ports.blocking))
    verify = setting("ssl_verify")
    if verify is None or verify is True:
        return ports
    worlds = _worlds(_verification(verify))
    return msgspec.structs.replace(ports, transport=(worlds.blocking() if ports.blocking else worlds.suspending()).transport)


def _verification(verify: Any) -> Any:
    """False, or a path of authorities; texts as environment variables give them."""
    if isinstance(verify, str) and verify.strip().lower() in ("true", "false"):
        return verify.strip().lower() == "true"
    if isinstance(verify, str) and not os.path.exists(verify):
        raise ConfigurationError("litellm.ssl_verify names a file of certificates that is not there")
    return verify


@lru_cache(maxsize=8)
def _worlds(verify: Any) -> RealWorlds:
    return RealWorlds(HttpSettings(verify=verify))


@lru_cache(maxsize=8)
def _over(session: Any, blocking: bool) -> Transport:
    from headrace.runtime.httpx2_transport import AsyncHttpx2Transport, SyncHttpx2Transport  # late: few programs bring a client

    return SyncHttpx2Transport(session) if blocking else AsyncHttpx2Transport(session)
