"""The built dashboard in a real Chromium, with a real gateway with keys and ledger behind it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from tests.gateway.conftest import provider
from tests.gateway.persistence import kept

from headrace import Router
from headrace.gateway.page.serving import BUILT
from headrace.gateway.persistence import Where
from headrace.simulator.config import SimulatorConfig
from headrace.simulator.server import running

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""Chromium as root in a container, and looking for nobody outside."""


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """For one test: while it runs, an event loop runs in this thread, and no other test could have its own."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built: make page (needs node and npm)")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    """A gateway with one group of two deployments and one that has room for a call a minute."""
    fast, slow = provider("fast", gap=0.002), provider("slow", gap=0.05, output_tokens=400.0)
    with running(SimulatorConfig(port=0, providers=(fast, slow))) as upstream:

        def entry(name: str, at: str, id: str, **params: object) -> dict[str, object]:
            priced = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "api_key": f"sk-{id}"}
            params = {"model": "openai/gpt-sim", "base_url": f"{upstream}/{at}/v1", **priced, **params}
            return {"model_name": name, "litellm_params": params, "model_info": {"id": id}}

        router = Router(
            [
                entry("gpt", "fast", "north", rpm=600, tpm=60_000),
                entry("gpt", "fast", "east", rpm=60),
                entry("narrow", "fast", "narrow-1", rpm=1),
                entry("long", "slow", "long-1"),
            ]
        )
        with kept(router, Where(f"sqlite:///{tmp_path / 'headrace.db'}", tmp_path)) as (address, _):
            yield address


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, chromium: Browser, base: str) -> Iterator[Page]:
    """A page that fails the test when its script or its content policy does, and closes before its gateway does."""
    shown = chromium.new_page(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    shown.set_default_timeout(15_000)
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        # What the gateway refuses, or does not answer, is no fault of the page's: the browser tells of every such answer.
        if message.type in ("error", "warning") and not re.search("status of 40[01]|net::ERR_FAILED", message.text):
            said.append(message.text)

    shown.on("console", hear)
    shown.on("pageerror", lambda error: said.append(str(error)))
    yield shown
    shown.close()
    assert said == []
