"""The benchmark of the planner runs and judges rightly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.limits import planner

ROOT = Path(__file__).parents[2]


def test_a_plan_is_measured_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "benchmarks.limits.planner", "--hours", "0.02", "--plans", "room to spare", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["calls"] == pytest.approx(720, rel=0.2)
    assert row["refused"] == 0
    assert row["cpu"] > 0
    assert row["memory"] > 1


@pytest.mark.parametrize(("cpu", "said"), [(59.0, "met"), (61.0, "missed")])
def test_the_target_is_a_minute_of_cpu(cpu: float, said: str) -> None:
    assert planner.verdict(planner.Row("room to spare", calls=864_000, cpu=cpu)).endswith(said)
