"""What a reader has at hand when trying an example: a provider, its key in the environment, a folder with the example of a plan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import ROOT
from headrace.simulator.config import ProviderConfig, SimulatorConfig
from headrace.simulator.server import running

PICTURES = ("gpt-image-1",)
CHATS = ("deepseek-ai/DeepSeek-V3.2-Exp", "gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-4.1", "whatever-it-is-called-there")
VECTORS = (
    "BAAI/bge-m3",
    "text-embedding-3-small",
)


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """Base address of a strict provider that knows the models of our pages and answers at once."""
    openai = ProviderConfig(
        name="openai", models=(*CHATS, *VECTORS, *PICTURES), ttft=0.0, gap=0.0, output_tokens=20.0, rpm=100_000, tpm=50_000_000
    )
    with running(SimulatorConfig(port=0, providers=(openai,))) as base:
        yield f"{base}/openai/v1"


@pytest.fixture
def reader(provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("LLM_", "EMBEDDING_", "OPENAI_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in {
        "OPENAI_API_KEY": "sk-of-the-reader",
        "OPENAI_BASE_URL": provider,
        "LLM_PROVIDER": "openai",
        "LLM_MODEL": CHATS[0],
        "EMBEDDING_PROVIDER": "openai",
        "EMBEDDING_MODEL": VECTORS[0],
    }.items():
        monkeypatch.setenv(name, value)
    for file in (ROOT / "examples" / "plan").iterdir():
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
