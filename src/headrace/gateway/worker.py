"""From what the command line said to an application: in one process, or in each of several."""

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
from headrace.gateway.callbacks import Telling
from headrace.gateway.config import Config, Settings, read_config
from headrace.gateway.contents import prepare
from headrace.gateway.guardrails import Guarding
from headrace.gateway.keys.identity import identities
from headrace.gateway.lasting import Lasting, where
from headrace.gateway.listening import begin_listening
from headrace.gateway.logs import set_up
from headrace.gateway.reload import Reloader

CONFIG: Final = "HEADRACE_CONFIG"
LOG: Final = "HEADRACE_LOG"
ADDRESS: Final = "HEADRACE_ADDRESS"
"""What the parent tells its workers: the configuration's path; `format,level,calls`; a file with the address, for the first to say."""


def app() -> Gateway:
    """One worker's application, from the environment that its parent left it."""
    form, level, calls = os.environ.get(LOG, "text,warning,").split(",")
    set_up(form, level, calls=bool(calls))
    path = Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None
    try:
        served = made(path, read_config(path, os.environ))
    except ConfigurationError as error:  # it would be the same for the next worker: uvicorn begins none after this status
        print(f"headrace: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)
    served.services.append(Ready(lambda: taken(Path(os.environ[ADDRESS])), begin_listening))
    return served


def made(path: Path | None, config: Config) -> Gateway:
    """The application that a configuration describes."""
    router = config.router()
    served = gateway(router, config.settings, state=_state(router, config.settings))
    served.metrics = _metrics(served)
    if config.settings.content:
        prepare()
    guarding = Guarding(config.rules, config.policies, _group_of(router))
    telling = Telling(config.callbacks)
    served.services += [guarding, telling]
    if path is not None:
        served.services.append(Reloader(path, config, served, guarding, telling))
    served.services += [Memory(), Turns()]
    return served


class Ready:
    """Says where the gateway is once all that a call needs has begun: the last of the services."""

    def __init__(self, address: Callable[[], str | None], listen: Callable[[], None] = lambda: None) -> None:
        """address: None where somebody else has said it. listen: what has connections come here only now."""
        self._address, self._listen = address, listen

    async def start(self) -> None:
        self._listen()
        if (address := self._address()) is not None:
            print(f"headrace gateway: {address}", flush=True)

    async def stop(self) -> None:
        pass


def taken(address: Path) -> str | None:
    """The address in a file that several workers know: for whoever takes it away."""
    try:
        said = address.read_text()
        address.unlink()
    except FileNotFoundError:
        return None
    return said


class Turns:
    """Lets the event loop have the interpreter back soon from the thread that folds the ledger: each write to the journal gives it away."""

    async def start(self) -> None:
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(TURN)

    async def stop(self) -> None:
        sys.setswitchinterval(self._before)


TURN: Final = 0.0005
"""Seconds; Python's own five milliseconds are ten times what a call takes here."""


class Memory:
    """Keeps the collector from looking, call after call, at what was there before the first: catalogues, routes, modules; and the
    allocator from asking for the pages of a long body anew for each."""

    async def start(self) -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, OLDER, OLD)
        bytearray(KEPT)

    async def stop(self) -> None:
        gc.unfreeze()


YOUNG: Final = 10_000
"""New objects between two looks at them: those of a hundred calls or so, of which nearly all are gone by then without it."""

OLDER, OLD = 5, 4
"""Looks after which those that had outlived one, or two, are looked at as well. Calls that fail and callers who leave end in circles of
objects: looked at seldom, 230 such a second lay there for minutes, up to 30 MB of them (a million calls, 29 November 2026)."""

KEPT: Final = 4 << 20
"""Bytes that are taken and given back once: glibc keeps for further use twice what the largest such block had, and gives back whatever
else ends its heap. A body of 100 KB is 25 pages."""


def _state(router: Router, settings: Settings) -> Lasting:
    trusted = identities(os.environ, settings.jwt_fields, settings.permissions) if settings.jwt else None
    return Lasting(router, where(os.environ, settings.database, settings.keep, settings.content_keep), trusted, settings.standing)


def _group_of(router: Router) -> Callable[[str], str]:
    def group_of(model: str) -> str:
        found = router.get_deployment_by_model_group_name(model)
        return model if found is None else found.group

    return group_of


def _metrics(served: Gateway) -> Any:
    """What `/metrics` says, where prometheus-client is installed."""
    try:
        from headrace.layers.metrics import Metrics  # late: an optional package
    except ImportError:
        logging.getLogger("headrace.gateway").info('no /metrics: pip install "headrace[metrics]" for them')
        return None
    metrics = Metrics()
    metrics.install()
    metrics.watch(served.router)
    return metrics.render


def check_workers(config: Config, workers: int) -> None:
    """Raises ConfigurationError where several processes would each take a limit for themselves."""
    options = config.options
    if workers == 1 or any(options.get(name) for name in ("redis_url", "redis_host")):
        return
    router = config.router()
    limited = [id for id in router.get_model_ids() if (found := router.get_deployment(id)) is not None and found.limits]
    if limited:
        raise ConfigurationError(
            f"{workers} workers would each take the limits of {len(limited)} deployments for themselves: share them by "
            "router_settings.redis_url (Valkey or Redis), or serve with --workers 1"
        )
