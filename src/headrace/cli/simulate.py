"""`headrace simulate`: runs simulated providers that enforce real limits."""

from __future__ import annotations

import click
import msgspec

from headrace.simulator.config import SimulatorConfig, load
from headrace.simulator.server import serve


@click.command(short_help="Run simulated providers that enforce real limits.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="What to simulate (.toml or .json); by default one provider without limits.",
)
@click.option("--host", metavar="HOST", help="Address to listen on; overrides the file (127.0.0.1).")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N", help="Port to listen on; overrides the file (4010). 0 for any free port."
)
def simulate(config: str | None, host: str | None, port: int | None) -> None:
    """Serve simulated providers until Ctrl-C. The first line printed is the address.

    \b
      headrace simulate &
      headrace chat --model openai/gpt-sim --base-url http://127.0.0.1:4010/sim/v1 Hello
    """
    simulated = load(config) if config else SimulatorConfig()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    serve(msgspec.structs.replace(simulated, **given))
