"""The benchmarks run and judge rightly. What they measure is no business of a test."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.client import __main__ as client
from benchmarks.common import peers, upstream
from benchmarks.common.measure import Reading
from benchmarks.gateway import __main__ as gateway
from benchmarks.gateway import contestants, flame, load, soak

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_client_is_measured_against_nothing_but_itself() -> None:
    done = run("-m", "benchmarks.client", "--quick", "--peers", "headrace", "--scenarios", "chat-1,sync-embedding-1", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures) == {"chat-1", "sync-embedding-1"}
    assert all(reading["cpu_us"] > 0 and not reading["failure"] for readings in figures.values() for reading in readings.values())


def test_an_import_of_ours_touches_no_network_and_starts_no_thread() -> None:
    done = run("-m", "benchmarks.imports", "--quick", "--own")
    assert done.returncode == 0, done.stderr
    assert "0 threads, 0 network calls" in done.stdout


def test_a_decision_of_ours_is_measured_without_peers() -> None:
    done = run("-m", "benchmarks.routing", "--quick", "--own")
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert rows[0].split()[-2:] == ["1,000", "deployments"]
    assert all(float(figure.replace(",", "")) > 0 for row in rows[1:] for figure in row.split()[-3:])


def test_every_benchmark_is_listed() -> None:
    listed = run("benchmarks/run.py").stdout
    assert "benchmarks.client " in listed
    assert "benchmarks.routing " in listed
    assert "benchmarks.imports " in listed


@pytest.mark.parametrize(("ours", "said"), [(80.0, "met"), (100.0, "missed")])
def test_a_target_is_judged_by_its_ratio_to_the_floor(ours: float, said: str) -> None:
    results = {"chat-50": {"aiohttp": Reading(rounds=[90.0]), "headrace": Reading(rounds=[ours])}}
    assert client.verdicts(results).endswith(said)


def test_without_a_floor_no_target_is_judged() -> None:
    assert "targets are not checked" in client.verdicts({"chat-50": {"headrace": Reading(rounds=[80.0])}})


def test_an_unknown_peer_is_named_with_those_there_are() -> None:
    with pytest.raises(peers.PeerError, match=r"nobody.*http, litellm, litellm-proxy, openai"):
        peers.python_of("nobody")


def test_peers_are_pinned_with_hashes() -> None:
    assert peers.versions("litellm")["litellm"] == "1.106.2"
    for lock in peers.LOCKS.glob("*.txt"):
        text = lock.read_text()
        assert text.count("--hash=sha256:") > text.count("==")
        assert "://" not in text, f"{lock.name} names a host"


def test_what_dialects_cost_is_measured_for_each_of_them() -> None:
    done = run("-m", "benchmarks.dialects", "--quick")
    assert done.returncode == 0, done.stderr
    assert "anthropic_messages" in done.stdout
    assert "streams relayed over sockets" in done.stdout


def test_what_a_call_leaves_behind_is_the_slope_of_the_second_half() -> None:
    """The first half, in which caches fill, does not count."""
    warm, steady = [(100, 50.0), (200, 90.0)], [(300, 91.0), (400, 91.1), (500, 91.2)]
    assert soak.slope([*warm, *steady]) == pytest.approx(1000, rel=0.2)


def test_the_gateway_that_cannot_be_measured_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants.shutil, "which", lambda *_, **__: None)
    with pytest.raises(contestants.AbsentError, match="nginx is not installed"), contestants.nginx("http://127.0.0.1:9", tmp_path):
        pass


def test_the_floor_in_python_hands_answers_and_streams_on(tmp_path: Path) -> None:
    """Whole, one after the other on one connection: else nothing could be said of what is added to it."""
    with upstream.running() as address, contestants.floor(address, tmp_path) as one:
        caller = load.Caller(one.address)
        for text in (load.SMALL, load.LARGE, load.SMALL):
            assert caller.whole(load.request_of(one.address, load.body_of(text), {})) > 0
        streamed = load.request_of(one.address, load.body_of(load.SMALL, stream=True), {})
        assert caller.whole(streamed) > 0
        assert asyncio.run(load.streams(one.address, streamed, 3)) == 3 * len(upstream.stream_events())
        caller.close()


def test_the_gateways_figures_are_judged_by_their_best_round() -> None:
    found = gateway.Found(idle=40.0, cpu={"small": [90.0, 80.0], "100 KB": [500.0]}, seen={"small": [1.0, 1.0]}, after=61.0)
    judged = gateway.verdicts({"headrace": found})
    assert "12,500     met" in judged
    assert "2,000  missed" in judged
    assert "61  missed" in judged


def test_a_soak_counts_every_call_in_the_ledger() -> None:
    done = run("-m", "benchmarks.gateway.soak", "--calls", "80")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "80 (72 answered, 4 failed, 4 left)" in done.stdout


def test_a_flame_graph_has_a_box_for_each_function_that_took_enough() -> None:
    served = "main (a.py:1);serve (headrace/gateway/x.py:2)"
    stacks = [f"{served};take (headrace/limits/y.py:3) 90", f"{served} 9", f"{served};rare (z.py:1) 1", "elsewhere (b.py:1) 50"]
    tree = flame.folded(stacks, "serve")
    assert tree.samples == 100
    drawn = flame.svg(tree, least=0.05)
    assert "take (headrace/limits/y.py) 90.0%" in drawn
    assert 'width="1080.0"' in drawn
    assert "rare" not in drawn
    assert "elsewhere" not in drawn
