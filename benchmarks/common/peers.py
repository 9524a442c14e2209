"""Peers of headrace in benchmarks, each in a virtual environment of its own, created on first use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "benchmarks" / "peers"
ENVIRONMENTS = ROOT / ".peers"
HERE = ("headrace", "python")
"""Run by the interpreter that runs the benchmark."""


class PeerError(Exception):
    """An environment could not be created."""


def lock_of(name: str) -> Path:
    """The lock file of an environment. Raises PeerError for an unknown name, listing the known ones."""
    path = LOCKS / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(sorted(lock.stem for lock in LOCKS.glob("*.txt")))
        raise PeerError(f"benchmarks/peers has no lock file for {name!r}, only for {known}")
    return path


def python_of(name: str) -> Path:
    """The interpreter of the environment `name`, which is created, or recreated if its lock has changed."""
    if name in HERE:
        return Path(sys.executable)
    lock, home = lock_of(name), ENVIRONMENTS / name
    interpreter, stamp = home / "bin" / "python", home / ".lock"
    wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if not (interpreter.exists() and stamp.is_file() and stamp.read_text() == wanted):
        print(f"creating the environment of {name} from {lock.relative_to(ROOT)} (once)", file=sys.stderr, flush=True)
        _make(home, interpreter, lock)
        stamp.write_text(wanted)
    return interpreter


def versions(name: str) -> dict[str, str]:
    """Locked packages and their versions."""
    pins = (line.split(";")[0].split()[0] for line in lock_of(name).read_text().splitlines() if line[:1].isalnum())
    return dict(pin.split("==", 1) for pin in pins)


def _make(home: Path, interpreter: Path, lock: Path) -> None:
    environment = {**os.environ, **_mirror()}
    for arguments in (
        ["venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
        ["pip", "sync", "--quiet", "--python", str(interpreter), "--require-hashes", str(lock)],
    ):
        made = subprocess.run([_uv(), *arguments], env=environment, capture_output=True, text=True, check=False)
        if made.returncode:
            raise PeerError(f"uv {' '.join(arguments[:2])} failed for the peer {home.name!r}:\n{made.stderr.strip()}")


def _uv() -> str:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise PeerError("uv is missing beside this interpreter; run `make setup` and use .venv/bin/python")
    return str(uv)


def _mirror() -> dict[str, str]:
    """uv does not read pip's configuration: pass a mirror configured for pip on to uv."""
    if os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL"):
        return {}
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    url = os.environ.get("PIP_INDEX_URL") or subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {"UV_DEFAULT_INDEX": url} if url else {}
