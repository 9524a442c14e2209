"""Reload of the configuration while the gateway runs, on SIGHUP or when one of its files changes. Calls are not interrupted."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from headrace.api import Router
from headrace.errors import ConfigurationError
from headrace.gateway.callbacks import CallbackService
from headrace.gateway.config import Config, Settings, read_config
from headrace.gateway.guardrails import GuardrailService
from headrace.gateway.secret_values import stamp_of
from headrace.gateway.state import State
from headrace.runtime.sql_drivers import DatabaseError

log: Final = logging.getLogger("headrace.gateway")


class Changing(Protocol):
    """What a reload changes: the gateway."""

    router: Router
    settings: Settings
    state: State | None


class Reloader:
    """Watches the files of a configuration and applies changes. An invalid configuration is logged and changes nothing."""

    def __init__(
        self,
        path: Path,
        config: Config,
        changing: Changing,
        guarding: GuardrailService | None = None,
        telling: CallbackService | None = None,
    ) -> None:
        self._path = path
        self._config = config
        self._changing = changing
        self._guarding = guarding or GuardrailService()
        self._telling = telling or CallbackService(config.callbacks)
        self._called = asyncio.Event()
        self._own = frozenset(changing.router.get_model_ids())
        """Deployments from the file; others were added by administrators, and stay."""
        self._seen = dict(config.files)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        with suppress(NotImplementedError, ValueError, RuntimeError):  # only the main thread receives signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._called.set)
        self._task = asyncio.ensure_future(self._watch())

    async def stop(self) -> None:
        with suppress(NotImplementedError, ValueError, RuntimeError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            every = self._changing.settings.reload
            with suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), every or None)
            asked, now = self._called.is_set(), {path: stamp_of(path) for path in self._config.files}
            self._called.clear()
            if asked or now != self._seen:
                self._seen = now
                await self._reload()

    async def _reload(self) -> None:
        try:
            # In a thread: a secret hook may call a service, which must not block streams.
            found = await asyncio.to_thread(read_config, self._path, os.environ)
            self._adopt(found)
            if self._changing.state is not None:
                await self._changing.state.use(found.settings.default_terms)
        except (ConfigurationError, DatabaseError) as error:
            log.error("%s was not reloaded: %s", self._path, error)
        else:
            log.info("%s was reloaded: %d deployments", self._path, len(found.model_list))

    def _adopt(self, found: Config) -> None:
        """Replace options and deployments while calls are in flight."""
        router = self._changing.router
        added = [
            entry
            for entry in map(router.get_model_info, router.get_model_ids())
            if entry is not None and entry["model_info"]["id"] not in self._own
        ]
        router.set_options([*found.model_list, *added], **found.of_router)
        self._own = frozenset(router.get_model_ids()) - {entry["model_info"]["id"] for entry in added}
        self._changing.settings = found.settings
        self._guarding.use(found.rules, found.policies)
        self._telling.use(found.callbacks)
        self._config, self._seen = found, dict(found.files)
