"""Resource use of a process and its children on Linux: CPU time to the nanosecond, memory, file descriptors."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for one in found:
        for task in (PROC / str(one) / "task").glob("*/children"):
            found += map(int, _text(task).split())
    return found


def cpu_seconds(pid: int) -> float:
    """CPU seconds used by all threads of the family. Threads that have ended are not counted."""
    nanoseconds = 0
    for one in family(pid):
        for task in (PROC / str(one) / "task").glob("*/schedstat"):
            nanoseconds += int((_text(task).split() or ["0"])[0])
    return nanoseconds / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory of the family in MB (10⁶ bytes)."""
    pages = sum(int((_text(PROC / str(one) / "statm").split() or ["0", "0"])[1]) for one in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(pid: int) -> int:
    """Open files and sockets of one process."""
    return len(os.listdir(PROC / str(pid) / "fd"))


def _text(path: Path) -> str:
    """The content of a /proc file; empty if its process has ended."""
    try:
        return path.read_text()
    except OSError:
        return ""
