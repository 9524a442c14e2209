"""`headrace serve`: the gateway behind a socket."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from headrace.api import Router
from headrace.cli.options import dotenv
from headrace.errors import ConfigurationError
from headrace.gateway.app import gateway
from headrace.gateway.config import MASTER_KEY, check_address, read_config
from headrace.gateway.state import State

FROM_DOTENV = (MASTER_KEY, "DATABASE_URL", "HEADRACE_STATE")
"""What of .env is the gateway's own."""
GRACE = 30
"""Seconds that calls under way have to end in once the gateway is told to stop."""


@click.command(short_help="Run the gateway: one address for OpenAI, Anthropic and Google clients.")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="LiteLLM's config.yaml, or .json, .toml.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on; others need a master key.")
@click.option("--port", type=click.IntRange(0, 65535), default=4000, show_default=True, metavar="N", help="Port to listen on; 0 for any.")
def serve(config: Path | None, host: str, port: int) -> None:
    """Serve until Ctrl-C. Without --config the models of the environment and .env are served. The first line printed is the address.

    \b
      headrace serve --config config.yaml
      OPENAI_BASE_URL=http://127.0.0.1:4000/v1 your-program
    """
    try:
        import uvicorn  # late: an optional package
    except ImportError:
        raise ConfigurationError('the gateway needs one more package: pip install "headrace[gateway]"') from None
    environment = {**{name: value for name, value in dotenv().items() if name in FROM_DOTENV}, **os.environ}
    made = read_config(config, environment)
    check_address(host, made.settings)
    state = _state(made.router, environment)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    with listening:
        at = f"[{host}]" if ":" in host else host
        print(f"headrace gateway: http://{at}:{listening.getsockname()[1]}", flush=True)
        for name in made.unused:
            print(f"{name} changes nothing here", file=sys.stderr)
        settings = uvicorn.Config(
            gateway(made.router, made.settings, state=state),
            log_config=None, access_log=False, lifespan="on", server_header=False, http="httptools", ws="none",
            timeout_graceful_shutdown=GRACE, proxy_headers=False,
        )  # fmt: skip
        uvicorn.Server(settings).run(sockets=[listening])


def _state(router: Router, environment: Mapping[str, str]) -> State:
    try:
        from headrace.gateway.lasting import Lasting, where  # late: it brings SQLAlchemy
    except ModuleNotFoundError as error:
        raise ConfigurationError(f'the gateway needs {error.name}: pip install "headrace[gateway]"') from None
    return Lasting(router, where(environment))
