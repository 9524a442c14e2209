"""Builds the application from the command line's settings, in one process or in each of several workers."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from uvicorn.config import STARTUP_FAILURE

from headrace.api import Router
from headrace.errors import ConfigurationError
from headrace.gateway.app import Gateway, gateway
from headrace.gateway.callbacks import CallbackService
from headrace.gateway.config import Config, Settings, read_config
from headrace.gateway.contents import prepare
from headrace.gateway.guardrails import GuardrailService
from headrace.gateway.keys.identity import identities
from headrace.gateway.listening import begin_listening
from headrace.gateway.logs import set_up
from headrace.gateway.persistence import PersistentState, where
from headrace.gateway.reload import Reloader

CONFIG: Final = "HEADRACE_CONFIG"
LOG: Final = "HEADRACE_LOG"
ADDRESS: Final = "HEADRACE_ADDRESS"
"""Environment variables from the parent to its workers.

The path of the configuration; `format,level,calls`; a file with the address, which the first worker prints.
"""


def app() -> Gateway:
    """One worker's application, built from the environment set by its parent."""
    form, level, calls = os.environ.get(LOG, "text,warning,").split(",")
    set_up(form, level, calls=bool(calls))
    path = Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None
    try:
        served = made(path, read_config(path, os.environ))
    except ConfigurationError as error:  # the next worker would fail the same way: uvicorn starts no other after this status
        print(f"headrace: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)
    served.services.append(Ready(lambda: taken(Path(os.environ[ADDRESS])), begin_listening))
    return served


def made(path: Path | None, config: Config) -> Gateway:
    """The application for a configuration."""
    router = config.router()
    served = gateway(router, config.settings, state=_state(router, config.settings))
    served.metrics = _metrics(served)
    if config.settings.content:
        prepare()
    guarding = GuardrailService(config.rules, config.policies, _group_of(router))
    telling = CallbackService(config.callbacks)
    served.services += [guarding, telling]
    if path is not None:
        served.services.append(Reloader(path, config, served, guarding, telling))
    served.services += [GcTuning(), SwitchInterval()]
    return served


class Ready:
    """Prints the gateway's address once everything a call needs has started; the last of the services."""

    def __init__(self, address: Callable[[], str | None], listen: Callable[[], None] = lambda: None) -> None:
        """address: returns None if another worker prints it. listen: starts accepting connections."""
        self._address, self._listen = address, listen

    async def start(self) -> None:
        self._listen()
        if (address := self._address()) is not None:
            print(f"headrace gateway: {address}", flush=True)

    async def stop(self) -> None:
        pass


def taken(address: Path) -> str | None:
    """The content of the address file, for the worker that removes it first; None for the others."""
    try:
        said = address.read_text()
        address.unlink()
    except FileNotFoundError:
        return None
    return said


class SwitchInterval:
    """Shortens the interpreter's switch interval.

    Each journal write releases the GIL, and the event loop must get it back soon from the thread that writes the ledger
    to the database.
    """

    async def start(self) -> None:
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(TURN)

    async def stop(self) -> None:
        sys.setswitchinterval(self._before)


TURN: Final = 0.0005
"""Seconds. Python's default of 5 ms is ten times what a call takes here."""


class GcTuning:
    """Tunes memory for long-lived processes.

    Objects that exist at startup (catalogs, routes, modules) are excluded from garbage collection, and the allocator
    keeps the pages of long bodies instead of requesting them again for each.
    """

    async def start(self) -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, OLDER, OLD)
        bytearray(KEPT)

    async def stop(self) -> None:
        gc.unfreeze()


YOUNG: Final = 10_000
"""Allocations between two collections: those of about a hundred calls, nearly all of which are freed without it."""

OLDER, OLD = 5, 4
"""Collections after which the next older generation is collected too.

Failed calls and disconnects leave reference cycles: collected rarely, 230 of them per second stayed for minutes, up to
30 MB (a million calls, 29 November 2026).
"""

KEPT: Final = 4 << 20
"""Bytes that are allocated and freed once at startup.

glibc then keeps twice the largest such block for reuse, and returns anything else at the end of its heap. A body of 100
KB is 25 pages.
"""


def _state(router: Router, settings: Settings) -> PersistentState:
    trusted = identities(os.environ, settings.jwt_fields, settings.permissions) if settings.jwt else None
    return PersistentState(
        router, where(os.environ, settings.database, settings.keep, settings.content_keep), trusted, settings.default_terms
    )


def _group_of(router: Router) -> Callable[[str], str]:
    def group_of(model: str) -> str:
        found = router.get_deployment_by_model_group_name(model)
        return model if found is None else found.group

    return group_of


def _metrics(served: Gateway) -> Any:
    """The function that renders `/metrics`; None without prometheus-client."""
    try:
        from headrace.layers.metrics import Metrics  # late: an optional package
    except ImportError:
        logging.getLogger("headrace.gateway").info('/metrics is not available: pip install "headrace[metrics]"')
        return None
    metrics = Metrics()
    metrics.install()
    metrics.watch(served.router)
    return metrics.render


def check_workers(config: Config, workers: int) -> None:
    """Raises ConfigurationError if each of several processes would apply the same limit on its own."""
    options = config.options
    if workers == 1 or any(options.get(name) for name in ("redis_url", "redis_host")):
        return
    router = config.router()
    limited = [id for id in router.get_model_ids() if (found := router.get_deployment(id)) is not None and found.limits]
    if limited:
        raise ConfigurationError(
            f"{workers} workers would each use the whole limits of {len(limited)} deployments: share the limits through "
            "router_settings.redis_url (Valkey or Redis), or serve with --workers 1"
        )
