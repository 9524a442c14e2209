"""`python -m headrace.simulator [CONFIG] [--host HOST] [--port PORT]`."""

from __future__ import annotations

import argparse
import sys

from msgspec import structs

from headrace.errors import ConfigurationError
from headrace.simulator.config import SimulatorConfig, load
from headrace.simulator.server import serve


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="headrace.simulator", description="Simulated LLM providers that enforce real limits.")
    parser.add_argument("config", nargs="?", help="TOML or JSON file; by default one provider without limits")
    parser.add_argument("--host", help="address to listen on; overrides the file")
    parser.add_argument("--port", type=int, help="common port; overrides the file; 0 for any free port")
    options = parser.parse_args(arguments)
    try:
        config = load(options.config) if options.config else SimulatorConfig()
        given = {name: getattr(options, name) for name in ("host", "port") if getattr(options, name) is not None}
        serve(structs.replace(config, **given))
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
