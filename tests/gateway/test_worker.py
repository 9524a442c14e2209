"""What a worker sets up before its first call."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

BODIES = """
import asyncio, resource
from headrace.gateway.worker import GcTuning

asyncio.run(GcTuning().start())
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bodies = [bytes(100_000) for _ in range(16)]
    del bodies
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 800)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep what they please")
def test_long_bodies_take_no_fresh_pages_each() -> None:
    """Of the 25 that one of 100 KB has, ten or more were given back and asked for again."""
    done = subprocess.run([sys.executable, "-c", BODIES], capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout) < 3
