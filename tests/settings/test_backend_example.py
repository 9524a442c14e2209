"""The example backend runs as it stands, and with litellm's import in place of headrace's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.settings import Settings
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import running

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "sk-your-own-key"
ADDRESS = "https://api.siliconflow.cn/v1"


@pytest.fixture(scope="module")
def siliconflow() -> Iterator[str]:
    """A strict provider with the example's models, key and limits, and instant answers."""
    models = ("deepseek-ai/DeepSeek-V3.2-Exp", "BAAI/bge-m3")
    provider = ProviderConfig(
        name="siliconflow", models=models, api_keys=(KEY,), ttft=0.0, gap=0.0, output_tokens=40.0, rpm=1000, tpm=80_000
    )
    with running(SimulatorConfig(port=0, providers=(provider,))) as base:
        yield f"{base}/siliconflow/v1"


@pytest.fixture(params=["headrace", "litellm"])
def project(request: pytest.FixtureRequest, tmp_path: Path, siliconflow: str) -> Path:
    """A copy of the example with a `.env` for the simulated provider, importing the Router from either name."""
    shutil.copytree(EXAMPLES / "backend", tmp_path / "backend", ignore=shutil.ignore_patterns(".env", "__pycache__"))
    example = (tmp_path / "backend" / ".env.example").read_text("utf-8")
    (tmp_path / "backend" / ".env").write_text(example.replace(ADDRESS, siliconflow), "utf-8")
    for program in (tmp_path / "backend").glob("*_example.py"):
        source = program.read_text("utf-8")
        assert source.count("from headrace import Router") == 1
        program.write_text(source.replace("from headrace import Router", f"from {request.param} import Router"), "utf-8")
    return tmp_path


def run(project: Path, code: str, **env: str) -> str:
    """What a program prints that runs in the project's folder, with no setting but those of `.env` and `env`."""
    if "from litellm" in (project / "backend" / "litellm_example.py").read_text("utf-8"):
        code = f"import headrace; headrace.install_as_litellm()\n{code}"
    clean = {name: value for name, value in os.environ.items() if not re.match(r"(LLM|EMBEDDING|OPENAI)_", name)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=project, env={**clean, **env}, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(name: str) -> str:
    return f"import runpy; runpy.run_module('backend.{name}', run_name='__main__')"


def test_the_chat_example_prints_both_answers(project: Path) -> None:
    whole, streamed = run(project, program("litellm_example")).strip().splitlines()
    assert len(whole) > 10
    assert len(streamed) > 10


def test_the_streamed_answer_comes_in_pieces(project: Path) -> None:
    count = """
import asyncio
from backend.litellm_example import chat_stream

async def pieces():
    return [piece async for piece in chat_stream("Count to ten.")]

print(len(asyncio.run(pieces())))
"""
    assert int(run(project, count)) > 5


def test_the_embedding_example_prints_dimension_and_first_values(project: Path) -> None:
    lines = run(project, program("embedding_litellm_example")).strip().splitlines()
    assert len(lines) == 2
    for line in lines:
        found = re.fullmatch(r"dimension (\d+): \[(.+)\]", line)
        assert found is not None
        assert int(found[1]) >= 5
        assert len([float(value) for value in found[2].split(",")]) == 5


def test_the_environment_wins_over_the_examples_file(project: Path) -> None:
    shown = run(project, "from backend.config import settings; print(settings.llm_tpm, settings.llm_rpm)", LLM_TPM="5")
    assert shown.split() == ["5", "1000"]


def test_the_examples_settings_are_complete_and_usable() -> None:
    settings = Settings.load(env={}, dotenv=EXAMPLES / "backend" / ".env.example")
    assert None not in settings.model_dump().values()
    chat, vectors = settings.model_list()
    assert chat["litellm_params"]["model"] == "openai/deepseek-ai/DeepSeek-V3.2-Exp"
    assert (chat["litellm_params"]["tpm"], chat["litellm_params"]["rpm"]) == (80_000, 1_000)
    assert vectors["litellm_params"]["model"] == "openai/BAAI/bge-m3"


def test_both_readmes_show_the_same_commands() -> None:
    english, chinese = ((EXAMPLES / "backend" / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert re.findall(r"^\$ .*", english, re.M) == re.findall(r"^\$ .*", chinese, re.M)
    assert re.findall(r"^(#+|\|)", english, re.M) == re.findall(r"^(#+|\|)", chinese, re.M)
