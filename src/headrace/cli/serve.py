"""`headrace serve`: runs the gateway."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from headrace.cli.options import dotenv
from headrace.errors import ConfigurationError
from headrace.gateway.config import Config, check_address, read_config
from headrace.gateway.listening import for_each_worker
from headrace.gateway.logs import set_up

if TYPE_CHECKING:
    import uvicorn


@click.command(short_help="Run the gateway: one address for OpenAI, Anthropic and Google clients.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="LiteLLM's config.yaml, or a .json or .toml file."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="Address to listen on; any other than this machine needs a master key.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4000, show_default=True, metavar="N", help="Port to listen on; 0 for any free port."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of processes; several share limits through redis_url.",
)
@click.option(
    "--tls-cert", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Serve HTTPS with this certificate (and its chain)."
)
@click.option(
    "--tls-key", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Key of the certificate; by default in the same file."
)
@click.option(
    "--tls-client-ca",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Admit only clients with a certificate from an authority in FILE.",
)
@click.option("--log", "log_form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Log format.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="Lowest level logged.",
)
@click.option("--access-log", is_flag=True, help="Log a line for every request answered.")
def serve(
    config: Path | None, host: str, port: int, workers: int, log_form: str, log_level: str, access_log: bool, **tls: str | None
) -> None:
    """Serve until Ctrl-C. Without --config, serve the models of the environment and .env. The first line printed is the
    address, as soon as calls are accepted there.

    \b
      headrace serve --config config.yaml
      OPENAI_BASE_URL=http://127.0.0.1:4000/v1 your-program
    """
    try:
        from headrace.gateway import worker  # late: optional packages
    except ImportError as error:
        raise ConfigurationError(f'the gateway needs one more package ({error.name}): pip install "headrace[gateway]"') from None
    set_up(log_form, log_level, calls=access_log)
    for name, value in dotenv().items():  # the configuration may refer to them
        os.environ.setdefault(name, value)
    read = read_config(config, os.environ)
    check_address(host, read.settings)
    _check_tls(tls)
    worker.check_workers(read, workers)
    for name in read.unused:
        print(f"{name} has no effect here", file=sys.stderr)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(host, port))
        address = _address(listening, host, "https" if tls["tls_cert"] else "http")
        if workers > 1:
            _hand_down(config, address, f"{log_form},{log_level},{'calls' if access_log else ''}", stack)
            _many(_settings("headrace.gateway.worker:app", read, tls, workers), for_each_worker(listening))
        else:
            served = worker.made(config, read)
            served.services.append(worker.Ready(lambda: address))
            _one(_settings(served, read, tls, workers), listening)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {_unheard(error)}") from None


def _unheard(error: OSError) -> str:
    """The reason why the socket cannot be opened, and what to do."""
    why = error.strerror if error.errno is None else os.strerror(error.errno)
    match error.errno:
        case errno.EADDRINUSE:
            return f"{why}. Stop the program that listens there, or choose another port with --port; --port 0 takes any free one"
        case errno.EACCES:
            return f"{why}. Ports below 1024 need administrator rights: choose another with --port"
        case _:
            return f"{why or error}. Choose an address of this machine with --host"


def _check_tls(tls: dict[str, str | None]) -> None:
    """Raises ConfigurationError for an unusable certificate, key or client CA file."""
    cert, key, clients = tls["tls_cert"], tls["tls_key"], tls["tls_client_ca"]
    if cert is None:
        if key or clients:
            raise ConfigurationError("--tls-key and --tls-client-ca need --tls-cert")
        return
    import ssl  # late: most gateways run behind a proxy

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        where = f"--tls-key {key}" if key else f"{cert} itself, as there is no --tls-key,"
        reason = getattr(error, "reason", None) or error.strerror or error
        raise ConfigurationError(
            f"--tls-cert {cert} must be a certificate in PEM and {where} its key without a password: {reason}"
        ) from None
    try:
        context.load_verify_locations(clients) if clients else None
    except (ssl.SSLError, OSError):
        raise ConfigurationError(f"--tls-client-ca {clients} must hold certificates in PEM") from None


def _address(listening: socket.socket, host: str, scheme: str) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"


PATIENCE: Final = 30
"""Seconds for a worker to start, and for a busy one to answer its parent. uvicorn's default of five is too short on a
loaded machine, where SIGHUP would then have no effect.
"""


def _settings(app: Any, read: Config, tls: dict[str, str | None], workers: int) -> uvicorn.Config:
    import ssl  # late: most gateways run behind a proxy

    import uvicorn  # late: an optional package

    from headrace.gateway.sockets import Connection  # late: see uvicorn

    client_ca, sessions = tls["tls_client_ca"], cast("type[Any]", _sessions)
    return uvicorn.Config(
        app, factory=workers > 1, workers=workers, http=Connection, ws=sessions, ws_max_size=read.settings.max_body, lifespan="on",
        interface="asgi3", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(read.settings.drain)), timeout_keep_alive=75, timeout_worker_healthcheck=PATIENCE,
        ssl_certfile=tls["tls_cert"], ssl_keyfile=tls["tls_key"], ssl_ca_certs=client_ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    )  # fmt: skip


def _sessions(**given: Any) -> Any:
    """A WebSocket connection. Few gateways serve any, so its module is loaded with the first."""
    from headrace.gateway.websockets import Connection  # late: see above

    return Connection(**given)


def _one(settings: uvicorn.Config, listening: socket.socket) -> None:
    import uvicorn  # late: an optional package

    uvicorn.Server(settings).run(sockets=[listening])


def _many(settings: uvicorn.Config, listening: Any) -> None:
    from uvicorn.config import STARTUP_FAILURE  # late: an optional package
    from uvicorn.supervisors.multiprocess import Multiprocess

    workers = Multiprocess(settings, sockets=[listening])
    workers.run()
    if any(one.process.exitcode == STARTUP_FAILURE for one in workers.processes):
        sys.exit(2)


def _hand_down(config: Path | None, address: str, log: str, stack: ExitStack) -> None:
    """Pass the configuration to the workers in environment variables, with a directory where their metrics are aggregated."""
    from headrace.gateway import worker  # late: optional packages

    said = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-"))) / "address"
    said.write_text(address)
    os.environ[worker.LOG], os.environ[worker.ADDRESS] = log, str(said)
    if config is not None:
        os.environ[worker.CONFIG] = str(config.resolve())
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-metrics-"))
