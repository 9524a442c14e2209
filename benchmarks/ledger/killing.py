"""Kills a gateway under load with SIGKILL and restarts it: every answered call must be in its ledger exactly once."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from headrace.gateway.ledger.journal import SUFFIX
from headrace.runtime.sql import Database

MASTER = "sk-of-the-master-of-the-mill"
BODY = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": False}).encode()
STREAM = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()


class Found(Struct, frozen=True):
    """The ledger's record of the answered calls."""

    answered: int
    rows: int
    """Rows of all calls: answered ones, and ones whose response was still being sent."""
    lost: int
    doubled: int
    money_off: int
    """Nano-dollars by which recorded spend differs from the sum of the rows."""
    restart: float
    """The longest time in seconds from process start to first response."""


class Load:
    """Callers that send one request after another, and record the ids of complete responses."""

    def __init__(self, base: str, key: str, callers: int) -> None:
        self.answered: list[str] = []
        self._base = base
        self._key = key
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number % 2 == 1,)) for number in range(callers)]
        for thread in self._threads:
            thread.start()

    def _call(self, stream: bool) -> None:
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        while not self._over.is_set():
            asked = urllib.request.Request(f"{self._base}/v1/chat/completions", STREAM if stream else BODY, headers)
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    whole = answer.read()
                    if not stream or whole.rstrip().endswith(b"[DONE]"):
                        self.answered.append(answer.headers["x-request-id"])
            except urllib.error.HTTPError as refused:
                refused.close()
            except (OSError, http.client.HTTPException):
                time.sleep(0.005)  # it was killed, perhaps in the middle of a response

    def begin(self) -> None:
        """Return once the first call was answered."""
        for _ in range(6000):
            if self.answered:
                return
            time.sleep(0.01)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def started(folder: Path, config: Path, database: str) -> tuple[subprocess.Popen[str], str, float]:
    """The process, its URL, and the seconds until it responded."""
    began = time.perf_counter()
    inherited = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }  # so that a restart need not compile
    environment = {**inherited, "HEADRACE_STATE": str(folder), "DATABASE_URL": database}
    command = [sys.executable, "-m", "headrace", "serve", "--config", str(config), "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    base = process.stdout.readline().strip().rpartition(" ")[2]
    while True:
        try:
            urllib.request.urlopen(f"{base}/health/liveliness", timeout=5).close()
            return process, base, time.perf_counter() - began
        except OSError:
            time.sleep(0.005)


def kill_often(
    folder: Path, upstream: str, *, times: int, seconds: float, callers: int = 8, database: str = "", say: Callable[[str], None] = print
) -> Found:
    """Start, load and kill a gateway `times` times; then start it once more, stop it gracefully, and inspect the ledger."""
    config = folder / "config.json"
    config.write_text(json.dumps(_config(upstream)))
    url = database or f"sqlite:///{folder / 'headrace.db'}"
    answered: list[str] = []
    key, longest = "", 0.0
    for number in range(times):
        process, base, took = started(folder, config, url)
        longest = max(longest, took) if number else 0.0
        key = key or _key(base)
        load = Load(base, key, callers)
        load.begin()
        time.sleep(seconds * random.uniform(0.5, 1.5))
        process.kill()
        process.communicate()
        load.stop()
        answered += load.answered
        say(f"{number + 1:3} killed after {len(load.answered)} answers, {len(list((folder / 'journal').glob('*' + SUFFIX)))} journals left")
    process, _, took = started(folder, config, url)
    process.terminate()
    process.communicate(timeout=60)
    return _found(url, answered, max(longest, took))


def _found(url: str, answered: list[str], restart: float) -> Found:
    database = Database(url)
    with database.transaction() as connection:
        rows = Counter(id for (id,) in connection.tuples("SELECT id FROM calls"))
        cost = connection.scalar("SELECT sum(cost) FROM calls") or 0
        spent = connection.scalar("SELECT sum(cost) FROM spending WHERE kind = 'key'") or 0
    database.close()
    return Found(
        answered=len(answered),
        rows=rows.total(),
        lost=sum(id not in rows for id in answered),
        doubled=sum(count > 1 for count in rows.values()),
        money_off=abs(int(cost) - int(spent)),
        restart=restart,
    )


def _config(upstream: str) -> dict[str, object]:
    params = {"model": "openai/gpt-sim", "api_key": "sk-upstream", "base_url": upstream}
    info = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    return {
        "model_list": [{"model_name": "gpt", "litellm_params": params, "model_info": info}],
        "general_settings": {"master_key": MASTER},
    }


def _key(base: str) -> str:
    headers = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
    asked = urllib.request.Request(f"{base}/key/generate", b'{"max_budget": 1000, "budget_duration": "30d"}', headers)
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["key"])
