"""`python -m tools.dropin [NAME …] [--lock]`: runs each dependent of litellm in an environment of its own, on headrace and its simulator.

No environment contains litellm: headrace takes its place. Prints a table of PASS and FAIL; exits with 1 if any failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOWS = Path(__file__).parent / "flows"
LOCKS = Path(__file__).parent / "locks"
SECONDS = 300
"""Timeout of one flow, including its imports."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.dropin", description=__doc__)
    parser.add_argument("names", nargs="*", help="dependents, by their distributions' names; all when left out")
    parser.add_argument("--lock", action="store_true", help="resolve the newest versions into tools/dropin/locks/ first")
    given = parser.parse_args()
    known = sorted(path.stem for path in FLOWS.glob("*.py"))
    names = [name.replace("-", "_") for name in given.names] or known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no flow for {', '.join(unknown)}; there are {', '.join(known)}")
    with Simulator() as address:
        return 1 if [name for name in names if not _passed(name, address, lock=given.lock)] else 0


def _passed(name: str, address: str, *, lock: bool) -> bool:
    python = _environment(name, lock=lock)
    command = [str(python), "-W", "ignore", str(FLOWS.parent / "flow.py"), str(FLOWS / f"{name}.py")]
    done = subprocess.run(command, env=_variables(address), capture_output=True, text=True, timeout=SECONDS, check=False)
    went = re.findall(r"^ok (.+)$", done.stdout, re.M)
    verdict = "PASS" if done.returncode == 0 and went else "FAIL"
    pinned = next(line for line in _lock(name).read_text().splitlines() if line.startswith(f"{name.replace('_', '-')}=="))
    print(f"{verdict}  {pinned.partition(' ')[0]:<36} {', '.join(went)}", flush=True)
    if verdict == "FAIL":
        print("      " + "\n      ".join((done.stderr or done.stdout).strip().splitlines()[-14:]), flush=True)
    return verdict == "PASS"


def _variables(address: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_API_BASE"))}
    own = {"OPENAI_API_KEY": "sim", "OPENAI_API_BASE": address, "OPENAI_BASE_URL": address, "PYTHONPATH": str(ROOT / "src")}
    quiet = {
        "HOME": str(ROOT / ".peers" / "home"),
        "CREWAI_DISABLE_TELEMETRY": "true",
        "MEM0_TELEMETRY": "False",
    }
    return kept | own | quiet | {"MSWEA_SILENT_STARTUP": "1"}


def _lock(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def _environment(name: str, *, lock: bool) -> Path:
    """The interpreter of a dependent's environment, created from its lock."""
    home = ROOT / ".peers" / f"dropin-{name.replace('_', '-')}"
    python, stamp = home / "bin" / "python", home / ".made"
    if lock or not _lock(name).exists():
        _resolve(name)
    if not stamp.exists() or stamp.read_text() != _lock(name).read_text():
        _uv("venv", "--clear", "--python", sys.executable, str(home))
        _uv("pip", "sync", "--require-hashes", "--python", str(python), str(_lock(name)))
        stamp.write_text(_lock(name).read_text())
    (ROOT / ".peers" / "home").mkdir(exist_ok=True)
    return python


def _resolve(name: str) -> None:
    """Resolve the newest versions of a dependent and its dependencies, excluding litellm."""
    LOCKS.mkdir(exist_ok=True)
    wanted, without = LOCKS / f"{name}.in", ROOT / ".peers" / "without-litellm.txt"
    without.parent.mkdir(exist_ok=True)
    without.write_text("litellm ; python_version < '3'\n")
    _uv(
        "pip",
        "compile",
        "--no-header",
        "--no-annotate",
        "--generate-hashes",
        "--upgrade",
        "--python",
        sys.executable,
        "--override",
        str(without),
        "-o",
        str(_lock(name)),
        str(wanted),
    )


def _uv(*arguments: str) -> None:
    done = subprocess.run([str(Path(sys.executable).with_name("uv")), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"uv {' '.join(arguments[:2])} failed:\n{done.stderr.strip()}")


class Simulator:
    """Run `headrace simulate` on a free port and yield its URL."""

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "headrace", "simulate", "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://[^\s/]+", line)
        if found is None:
            raise RuntimeError(f"the simulator said {line!r}")
        return f"{found[0]}/sim/v1"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


if __name__ == "__main__":
    sys.exit(main())
