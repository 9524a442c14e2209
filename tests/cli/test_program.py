"""What holds for every command: help, version, usage, completion, the missing extra."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.shell import Program, Terminal, headrace

import headrace as package
from headrace.cli.app import COMMANDS

pytestmark = pytest.mark.usefixtures("place")


def test_the_version_is_the_package_s(program: Program) -> None:
    assert program("--version") == (0, f"headrace {package.__version__}\n", "")


def test_help_lists_every_command(program: Program) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        code, out, err = program(*arguments)
        assert (code, err) == (0, "")
        assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(program: Program, command: str) -> None:
    code, out, _ = program(command, "--help")
    assert code == 0
    assert f"Usage: headrace {command}" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("chat", "--nonsense"), "No such option"),
        (("chat", "--temperature", "hot", "Hello"), "--temperature"),
        (("chat", "--max-tokens", "0", "Hello"), "--max-tokens"),
        (("chat", "--timeout", "0", "Hello"), "--timeout"),
        (("completion", "tcsh"), "tcsh"),
        (("simulate", "--port", "70000"), "--port"),
        (("doctor", "no-such-file.json"), "no-such-file.json"),
    ],
)
def test_bad_usage_is_one_line_and_2(program: Program, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = program(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("headrace: ")
    assert err.count("\n") == 1
    assert told in err
    assert "--help" in err


def test_the_installed_command_is_the_module() -> None:
    command = shutil.which("headrace", path=os.path.dirname(sys.executable))
    assert command is not None
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30)
    assert done.stdout == f"headrace {package.__version__}\n"
    assert headrace("--version").out == done.stdout


def test_without_the_extra_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['click'] = sys.modules['rich'] = None\n"
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('click', 'rich') else real(name, *more)\n"
        "from headrace.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert 'pip install "headrace[cli]"' in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_valid(program: Program, shell: str) -> None:
    code, out, _ = program("completion", shell)
    assert code == 0
    assert "_HEADRACE_COMPLETE" in out
    found = shutil.which(shell)
    if found:
        checked = subprocess.run([found, "-n"], input=out, capture_output=True, text=True, timeout=10)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        env = {"_HEADRACE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        return [line.partition(",")[2] for line in headrace(env=env).out.splitlines()]

    assert completed("headrace do") == ["doctor"]
    assert set(completed("headrace ")) == set(COMMANDS)
    assert "--max-tokens" in completed("headrace chat --max")


def test_a_table_on_a_terminal_fits_and_has_a_heading(terminal: Callable[..., Terminal]) -> None:
    screen = terminal("providers", "groq", columns=80)
    assert screen.end() == 0
    assert "provider" in screen.text
    assert all(len(line.rstrip()) <= 80 for line in screen.text.splitlines())


def test_a_broken_dotenv_is_bad_configuration(program: Program, place: Path) -> None:
    (place / ".env").write_text("LLM_PROVIDER=openai\nLLM_MODEL=x\nLLM_RPM=many\n")
    code, _, err = program("chat", "Hello")
    assert (code, err.count("\n")) == (2, 1)
    assert "LLM_RPM" in err


@pytest.mark.parametrize("arguments", [("chat", "Hello"), ("doctor", "models.json")])
def test_a_dotenv_that_is_no_text_is_bad_configuration(program: Program, place: Path, arguments: tuple[str, ...]) -> None:
    (place / ".env").write_bytes(b"LLM_PROVIDER=\xff\xfe")
    (place / "models.json").write_text('[{"model_name": "chat"}]')
    code, _, err = program(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "not UTF-8" in err


def test_help_is_quick() -> None:
    """Told by what it loads: the version needs neither the simulator nor the transports."""
    code = "import sys; from headrace.cli.app import run; run(['--version']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    loaded = set(done.stderr.split())
    assert "headrace.cli.app" in loaded
    assert not {"headrace.simulator.server", "headrace.api", "asyncio", "ssl"} & loaded


def test_simulate_serves_until_it_is_stopped(tmp_path: Path) -> None:
    config = tmp_path / "sim.toml"
    config.write_text('[[providers]]\nname = "here"\nrpm = 60\nttft = 0.0\ngap = 0.0\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "simulate", "--config", str(config), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[2]
    answer = headrace("chat", "--model", "openai/gpt-sim", "--base-url", f"{address}/here/v1", "--max-tokens", "4", "Hello")
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert (answer.code, answer.err) == (0, "")
    assert (process.returncode, err) == (0, "")


def test_a_bad_simulator_configuration_is_told_by_its_field(program: Program, tmp_path: Path) -> None:
    config = tmp_path / "sim.toml"
    config.write_text('[[providers]]\nname = "here"\nrpm = -1\n')
    code, _, err = program("simulate", "--config", str(config))
    assert (code, err.count("\n")) == (2, 1)
    assert "rpm" in err
    assert program("simulate", "--config", "none.toml").code == 2
