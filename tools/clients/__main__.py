"""`python -m tools.clients [NAME …]`: runs coding agents and SDKs from npm, each completing a task with a tool through the gateway.

The model behind the gateway is scripted. Each client runs twice: over a provider with another dialect, where everything
is translated, and over one with its own, where bytes pass through (a second gateway). Prints a table of PASS and FAIL;
exits with 1 if any failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tools.clients.scripted import DONE, scripted

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).parent
HOME: Final = ROOT / ".peers" / "clients"
BIN: Final = HOME / "node_modules" / ".bin"
KEY: Final = "sk-of-the-clients-gateway"
SECONDS: Final = 120
"""Timeout of one run of one client."""
PROMPT: Final = "headrace-run: echo written by a tool > done.txt"


class Started(NamedTuple):
    """How to start a client."""

    command: Sequence[str]
    environment: Mapping[str, str] = {}
    files: Mapping[str, Any] = {}
    """Files in its home directory, as JSON."""


def claude(address: str) -> Started:
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "IS_SANDBOX": "1"}
    return Started(
        [str(BIN / "claude"), "-p", PROMPT, "--dangerously-skip-permissions", "--model", "claude-sonnet-4-5"],
        {"ANTHROPIC_BASE_URL": address, "ANTHROPIC_AUTH_TOKEN": KEY, **quiet},
    )


def codex(address: str, more: str = "", prompt: str = PROMPT, model: str = "gpt-5", settings: Sequence[str] = ()) -> Started:
    provider = f'{{name="headrace", base_url="{address}/v1", env_key="HEADRACE_KEY", wire_api="responses"{more}}}'
    where = ["-c", "model_provider=headrace", "-c", f"model_providers.headrace={provider}"]
    free = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return Started([str(BIN / "codex"), "exec", *free, "-m", model, *where, *settings, prompt], {"HEADRACE_KEY": KEY})


def codex_by_websocket(address: str) -> Started:
    return codex(address, ", supports_websockets=true")


def codex_with_patches(address: str) -> Started:
    """A tool that takes plain text, which only OpenAI has. Codex offers it to models that it knows."""
    patch = "*** Begin Patch\n*** Add File: done.txt\n+written by a tool\n*** End Patch"
    return codex(address, prompt=f"headrace-call:apply_patch {json.dumps({'input': patch})}", model="gpt-5.5")


def codex_with_mcp(address: str) -> Started:
    """An MCP server's tools stand in a namespace, and are found by a search that Codex does itself."""
    write = json.dumps({"path": "done.txt", "text": "written by a tool\n"})
    prompt = f'headrace-call:tool_search {{"query": "write a file"}}\nheadrace-call:mcp__files__write {write}'
    server = f'mcp_servers.files={{command="node", args=["{HERE / "mcp.mjs"}"]}}'
    return codex(address, prompt=prompt, model="gpt-5.5", settings=["-c", server])


def gemini(address: str) -> Started:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "general": {"disableAutoUpdate": True},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
    }
    return Started(
        [str(BIN / "gemini"), "-p", PROMPT, "--yolo", "-m", "gemini-2.5-pro"],
        {"GOOGLE_GEMINI_BASE_URL": address, "GEMINI_API_KEY": KEY, "GEMINI_CLI_NO_RELAUNCH": "1"},
        {".gemini/settings.json": settings},
    )


def claude_by_vertex(address: str) -> Started:
    """The key is sent as a header, so no Google token is needed."""
    started = claude(address)
    own = {name: value for name, value in started.environment.items() if not name.startswith("ANTHROPIC_")}
    vertex = {"CLAUDE_CODE_USE_VERTEX": "1", "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", "CLOUD_ML_REGION": "global"}
    where = {"ANTHROPIC_VERTEX_BASE_URL": f"{address}/v1", "ANTHROPIC_VERTEX_PROJECT_ID": "any"}
    return started._replace(environment={**own, **vertex, **where, "ANTHROPIC_CUSTOM_HEADERS": f"x-api-key: {KEY}"})


def claude_by_bedrock(address: str) -> Started:
    """The key is sent as a Bedrock bearer token, which needs no access key."""
    started = claude(address)
    own = {name: value for name, value in started.environment.items() if not name.startswith("ANTHROPIC_")}
    bedrock = {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_BEDROCK_BASE_URL": address, "AWS_REGION": "us-east-1"}
    return started._replace(environment={**own, **bedrock, "AWS_BEARER_TOKEN_BEDROCK": KEY})


def copilot(address: str) -> Started:
    provider = {"BASE_URL": f"{address}/v1", "TYPE": "openai", "WIRE_API": "responses", "API_KEY": KEY}
    return Started(
        [str(BIN / "copilot"), "-p", PROMPT, "--allow-all-tools"],
        {**{f"COPILOT_PROVIDER_{what}": value for what, value in provider.items()}, "COPILOT_MODEL": "gpt-5", "COPILOT_OFFLINE": "true"},
    )


def copilot_by_websocket(address: str) -> Started:
    started = copilot(address)
    return started._replace(environment={**started.environment, "COPILOT_PROVIDER_TRANSPORT": "websockets"})


def cline(address: str) -> Started:
    where = f'"{BIN}/cline" auth -p openai -k {KEY} -m gpt-5 -b {address}/v1'
    return Started(["sh", "-c", f'{where} && exec "{BIN}/cline" "{PROMPT}"'], {"CLINE_TELEMETRY_DISABLED": "1"})


def qwen(address: str) -> Started:
    return Started(
        [str(BIN / "qwen"), "--auth-type", "openai", "--yolo", "-p", PROMPT],
        {"OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "gpt-5"},
    )


def pi(address: str) -> Started:
    """Four dialects, one after another."""
    ways = {
        "chat": (f"{address}/v1", "openai-completions", "gpt-5"),
        "responses": (f"{address}/v1", "openai-responses", "gpt-5"),
        "messages": (address, "anthropic-messages", "claude-sonnet-4-5"),
        "content": (f"{address}/v1beta", "google-generative-ai", "gemini-2.5-pro"),
    }
    providers = {name: {"baseUrl": base, "api": api, "apiKey": KEY, "models": [{"id": model}]} for name, (base, api, model) in ways.items()}
    models = " ".join(f"{name}/{model}" for name, (_, _, model) in ways.items())
    each = f'rm -f done.txt; "{BIN}/pi" --offline -p --model $model "{PROMPT}" && test -s done.txt || exit 1'
    return Started(["sh", "-c", f"for model in {models}; do {each}; done"], {}, {".pi/agent/models.json": {"providers": providers}})


def langchain(address: str) -> Started:
    return Started(["node", str(HOME / "langchain.mjs"), address, KEY, PROMPT])


def cn(address: str) -> Started:
    """Continue's command line."""
    model = {"name": "gpt-5", "provider": "openai", "model": "gpt-5", "apiBase": f"{address}/v1", "apiKey": KEY}
    able = {"roles": ["chat"], "capabilities": ["tool_use"]}
    config = {"name": "headrace", "version": "1.0.0", "schema": "v1", "models": [{**model, **able}]}
    return Started(
        ["sh", "-c", f'exec "{BIN}/cn" -p --auto --config "$HOME/config.yaml" "{PROMPT}"'],
        {"CONTINUE_TELEMETRY_ENABLED": "0"},
        {"config.yaml": config},
    )


def opencode(address: str) -> Started:
    """Without these settings it would fetch prices, plugins and updates."""
    options = {"baseURL": f"{address}/v1", "apiKey": KEY}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "headrace", "options": options, "models": {"gpt-5": {"name": "gpt-5"}}}
    config = {"autoupdate": False, "share": "disabled", "provider": {"headrace": provider}, "permission": "allow"}
    quiet = ("MODELS_FETCH", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "AUTOUPDATE")
    return Started(
        [str(BIN / "opencode"), "run", "--pure", "-m", "headrace/gpt-5", PROMPT],
        {f"OPENCODE_DISABLE_{what}": "1" for what in quiet},
        {".config/opencode/opencode.json": config},
    )


def vercel(address: str) -> Started:
    return Started(["node", str(HOME / "vercel.mjs"), address, KEY, PROMPT])


CLIENTS: Final[Mapping[str, tuple[str, Callable[[str], Started]]]] = {
    "claude-code": ("@anthropic-ai/claude-code", claude),
    "claude-vertex": ("@anthropic-ai/claude-code", claude_by_vertex),
    "claude-bedrock": ("@anthropic-ai/claude-code", claude_by_bedrock),
    "cline": ("cline", cline),
    "codex": ("@openai/codex", codex),
    "codex-mcp": ("@openai/codex", codex_with_mcp),
    "codex-patches": ("@openai/codex", codex_with_patches),
    "codex-websocket": ("@openai/codex", codex_by_websocket),
    "gemini-cli": ("@google/gemini-cli", gemini),
    "continue": ("@continuedev/cli", cn),
    "copilot": ("@github/copilot", copilot),
    "copilot-websocket": ("@github/copilot", copilot_by_websocket),
    "langchain": ("langchain", langchain),
    "opencode": ("opencode-ai", opencode),
    "pi": ("@mariozechner/pi-coding-agent", pi),
    "qwen-code": ("@qwen-code/qwen-code", qwen),
    "vercel": ("ai", vercel),
}

KITS: Final = ("langchain", "vercel")
"""Our own programs using an SDK, which check the result themselves."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.clients", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CLIENTS)}; all when left out")
    names = parser.parse_args().names or list(CLIENTS)
    if unknown := [name for name in names if name not in CLIENTS]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    _install()
    with scripted() as (model, _), gateway(_over(model)) as translating, gateway(_over_gateway(translating)) as passing:
        verdicts = [_passed(name, way, at) for name in names for way, at in (("translated", translating), ("passed on", passing))]
    return 0 if all(verdicts) else 1


def _install() -> None:
    """Install the clients from the lock file, once."""
    HOME.mkdir(parents=True, exist_ok=True)
    lock = (HERE / "package-lock.json").read_text()
    if not (HOME / ".made").is_file() or (HOME / ".made").read_text() != lock:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, HOME / name)
        subprocess.run(["npm", "ci", "--silent"], cwd=HOME, check=True)
        # Install scripts of packages are disabled; these only put the downloaded binaries in place.
        for script in ("@anthropic-ai/claude-code/install.cjs", "opencode-ai/postinstall.mjs", "cline/postinstall.mjs"):
            subprocess.run(["node", f"node_modules/{script}"], cwd=HOME, check=True, stdout=subprocess.DEVNULL)
        (HOME / ".made").write_text(lock)
    for kit in KITS:
        shutil.copy(HERE / f"{kit}.mjs", HOME / f"{kit}.mjs")


def _over(model: str) -> list[dict[str, Any]]:
    """Every model name, served by a provider that only has Chat Completions."""
    return [{"model_name": "*", "litellm_params": {"model": "siliconflow/scripted", "api_key": "sk-none", "base_url": model}}]


def _over_gateway(address: str) -> list[dict[str, Any]]:
    """Each model name, served by a provider with the client's own dialect: another gateway."""
    return [
        {"model_name": name, "litellm_params": {"model": model, "api_key": KEY, "base_url": address + path}}
        for name, model, path in (
            ("claude-*", "anthropic/*", ""),
            ("gpt-*", "openai/*", "/v1"),
            ("gemini-*", "gemini/*", "/v1beta"),
        )
    ]


@contextmanager
def gateway(deployments: list[dict[str, Any]]) -> Iterator[str]:
    """Run `headrace serve` with the deployments and yield its URL."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"model_list": deployments, "general_settings": {"master_key": KEY}}))
        command = [sys.executable, "-m", "headrace", "serve", "--config", str(config), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            if found is None:
                raise SystemExit("headrace serve did not start")
            yield found.group()
        finally:
            server.terminate()
            server.wait(30)


def _passed(name: str, way: str, address: str) -> bool:
    package, start = CLIENTS[name]
    version = json.loads((HOME / "node_modules" / package / "package.json").read_text())["version"]
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as work:
        started = start(address)
        for path, content in started.files.items():
            (Path(home) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(home) / path).write_text(json.dumps(content))
        code, said = _run(started, home, work)
        written = Path(work) / "done.txt"
        finished = DONE in said or name in KITS
        good = code == 0 and finished and written.is_file() and written.read_text() == "written by a tool\n"
    print(f"{'PASS' if good else 'FAIL'}  {name:<17} {version:<10} {way}", flush=True)
    if not good:
        print("      " + "\n      ".join(said.strip().splitlines()[-20:]), flush=True)
    return good


def _run(started: Started, home: str, work: str) -> tuple[int, str]:
    kept = {name: value for name, value in os.environ.items() if not re.search(r"_API_KEY$|_BASE_URL$|PROXY$", name, re.I)}
    environment = {**kept, "HOME": home, "PWD": work, "NO_COLOR": "1", **started.environment}
    try:
        done = subprocess.run(
            started.command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 1, f"it was not done within {SECONDS} s: {error.stderr!r}"
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
