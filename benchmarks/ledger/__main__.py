"""`python -m benchmarks.ledger kill` and `… cost`."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.ledger.killing import kill_often
from headrace.gateway.ledger.writer import LedgerWriter
from headrace.gateway.records import Record
from headrace.runtime.sql import Database
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import running


def kill(times: int, seconds: float, database: str) -> int:
    fast = ProviderConfig(name="sim", ttft=0.0, gap=0.0, output_tokens=12.0)
    with tempfile.TemporaryDirectory() as folder, running(SimulatorConfig(port=0, providers=(fast,))) as upstream:
        found = kill_often(Path(folder), f"{upstream}/sim/v1", times=times, seconds=seconds, database=database)
    print(
        f"{found.answered} calls answered, {found.rows} rows: {found.lost} lost, {found.doubled} doubled, "
        f"money off by {found.money_off} nano-dollars; longest restart {found.restart:.2f} s"
    )
    return int(bool(found.lost or found.doubled or found.money_off))


def cost(calls: int, database: str) -> int:
    usage = {"input": 900, "cached": 100, "output": 300}
    names = {"key": "key_0123456789abcdef", "team": "blue", "user": "alice", "model": "gpt", "group": "gpt", "served": "gpt-4o"}

    async def measure() -> None:
        with tempfile.TemporaryDirectory() as folder:
            opened = Database(database or f"sqlite:///{folder}/headrace.db")
            books = LedgerWriter(opened, Path(folder) / "journal")
            now = time.time()
            records = [Record(id=f"req_{number:024}", began=now, ended=now + 1, usage=usage, cost=1234, **names) for number in range(calls)]
            began = time.process_time()
            for record in records:
                books.append(record)
            appended = time.process_time()
            await books.fold()
            folded = time.process_time()
            print(f"{'append':8}{(appended - began) / calls * 1e6:8.1f} µs per call")
            print(f"{'fold':8}{(folded - appended) / calls * 1e6:8.1f} µs per call")
            await books.close()
            opened.close()

    asyncio.run(measure())
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["kill", "cost"])
    parser.add_argument("--times", type=int, default=20, help="how often the gateway is killed (default 20)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of load before each kill (default 2)")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--database", default="", help="an address; a fresh SQLite file without one")
    given = parser.parse_args()
    return kill(given.times, given.seconds, given.database) if given.command == "kill" else cost(given.calls, given.database)


if __name__ == "__main__":
    raise SystemExit(main())
