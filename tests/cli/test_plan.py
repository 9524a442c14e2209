"""`headrace plan`: a configuration and a load in, a forecast out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.shell import Program, Terminal

from headrace.cli.plan import span, wait
from headrace.planner import plot

CONFIG = """
model_list:
  - model_name: chat
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/PLAN_KEY_ONE, rpm: 60, tpm: 100000}
  - model_name: chat
    litellm_params: {model: azure/gpt-4o-mini, api_base: https://ours.example, api_key: os.environ/PLAN_KEY_TWO, rpm: 30}
router_settings: {model_group_alias: {best: chat}}
"""


@pytest.fixture
def config(place: Path) -> str:
    (place / "config.yaml").write_text(CONFIG)
    return "config.yaml"


def records(out: str) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for line in out.splitlines():
        kind, *cells = line.split("\t")
        found.setdefault(kind, []).append(cells)
    return found


def test_a_load_in_figures_is_foretold(program: Program, config: str) -> None:
    code, out, err = program("plan", config, "--rate", "2", "--hours", "0.05", "--input", "100", "--output", "50", "--max-tokens", "80")
    assert (code, err) == (0, "")
    found = records(out)
    calls, answered, never, refused, *_ = map(float, found["forecast"][0])
    assert calls == answered > 300
    assert (never, refused) == (0, 0)
    assert [row[:2] for row in found["limit"]] == [["chat", "rpm"], ["chat", "tpm"], ["chat #2", "rpm"]]
    assert found["what-if"][0][0] == "one more deployment like chat"


def test_json_gives_all_there_is(program: Program, config: str) -> None:
    code, out, _ = program("plan", config, "--burst", "120@0s", "--tenant", "anna=3", "--tenant", "ben", "--json")
    told: dict[str, Any] = json.loads(out)
    found = told["forecast"]
    assert code == 0
    assert found["calls"] == found["completed"] == 120
    assert found["tenants"].keys() == {"anna", "ben"}
    assert sum(found["served"].values()) == 120
    assert found["limits"][0]["binding"] > 0.9
    assert len(found["series"]["waiting"]) == len(found["series"]["use"]["chat rpm"])
    assert [change["finish"] < found["finish"] for change in told["what_if"]] == [True, True, True]


def test_what_if_can_be_left_out(program: Program, config: str) -> None:
    assert "what-if" not in records(program("plan", config, "--burst", "150@0s", "--what-if", "0").out)
    assert len(records(program("plan", config, "--burst", "150@0s", "--what-if", "1").out)["what-if"]) == 1


def test_jobs_come_from_a_file_or_a_pipe(program: Program, config: str, place: Path) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}
    rows = [{"custom_id": "1", "body": body}, body, {"model": "best", "input_tokens": 10, "output_tokens": 5, "at": 2}]
    (place / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = program("plan", config, "--jobs", "jobs.jsonl")
    assert code == 0
    assert records(out)["forecast"][0][:4] == ["3", "3", "0", "0"]


def test_a_bad_line_is_named_with_its_file(program: Program, config: str, place: Path) -> None:
    (place / "jobs.jsonl").write_text('{"model": "chat", "input_tokens": 1}\n{"model": "chat"}\n{\n')
    code, out, err = program("plan", config, "--jobs", "jobs.jsonl")
    assert (code, out) == (2, "")
    assert "jobs.jsonl: line 2: has no size" in err
    assert "line 3: not JSON" in err
    assert err.count("\n") == 1


def test_calls_that_never_fit_are_told_and_make_the_exit_code_1(program: Program, config: str, place: Path) -> None:
    (place / "config.json").write_text(json.dumps([{"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o", "tpm": 500}}]))
    code, out, _ = program("plan", "config.json", "--burst", "3@0s", "--max-tokens", "600")
    assert code == 1
    assert records(out)["forecast"][0][:3] == ["3", "0", "3"]


def test_no_key_is_read_or_shown(program: Program, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAN_KEY_ONE", "sk-of-the-planner-0123456789")
    result = program("plan", config, "--burst", "10@0s", "--json")
    assert result.code == 0
    assert "sk-of-the-planner" not in result.out + result.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "what is to be called?"),
        (("--rate", "1", "--jobs", "config.yaml"), "not both"),
        (("--rate", "1", "--model", "gpt"), "no deployment serves 'gpt'; there are chat"),
        (("--rate", "-1"), "--rate"),
        (("--burst", "many"), "is not a burst like"),
        (("--burst", "5@noon"), "is not a burst like"),
        (("--burst", "5@0s/0s"), "is not a burst like"),
        (("--burst", "5@0s", "--tenant", "anna=much"), "is not a tenant like"),
        (("--burst", "5@0s", "--first-token", "soon"), "is not a time like"),
        (("--burst", "5@0s", "--tenant", "anna=0"), "positive"),
        (("--burst", "5@0s", "--plot", "plan.gif"), ".svg, .png, .pdf"),
        (("--burst", "5@0s", "--plot", "nowhere/plan.svg"), "does not exist"),
        (("--jobs", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_bad_usage_is_one_line_and_2(program: Program, config: str, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = program("plan", config, *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_of_several_groups_one_must_be_named(program: Program, place: Path) -> None:
    entries = [{"model_name": name, "litellm_params": {"model": "openai/gpt-4o", "rpm": 60}} for name in ("large", "small")]
    (place / "config.json").write_text(json.dumps(entries))
    code, _, err = program("plan", "config.json", "--burst", "5@0s")
    assert code == 2
    assert "--model: large, small" in err
    assert program("plan", "config.json", "--burst", "5@0s", "--model", "small").code == 0


def test_yaml_that_is_none_is_named(program: Program, place: Path) -> None:
    (place / "bad.yaml").write_text("model_list: [")
    code, _, err = program("plan", "bad.yaml", "--burst", "5@0s")
    assert code == 2
    assert "bad.yaml is not valid YAML" in err


@pytest.mark.parametrize(("missing", "extra", "arguments"), [("yaml", "cli", ()), ("matplotlib.figure", "plan", ("--plot", "plan.svg"))])
def test_a_missing_package_is_named_with_its_extra(
    program: Program, config: str, place: Path, monkeypatch: pytest.MonkeyPatch, missing: str, extra: str, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    code, out, err = program("plan", config, "--burst", "5@0s", *arguments)
    assert (code, out) == (2, "")
    assert f'pip install "headrace[{extra}]"' in err


def test_json_and_toml_need_no_further_package(program: Program, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (place / "config.json").write_text(json.dumps([{"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o", "rpm": 60}}]))
    assert program("plan", "config.json", "--burst", "5@0s").code == 0


# ---- drawn


def test_a_plot_shows_limits_queue_and_end(program: Program, config: str, place: Path) -> None:
    assert program("plan", config, "--burst", "150@0s", "--what-if", "0", "--plot", "plan.svg").code == 0
    drawn = (place / "plan.svg").read_text()
    for text in ("chat rpm", "chat #2 rpm", "use of the limit, %", "calls waiting", "done", "150 calls, done after"):
        assert text in drawn
    program("plan", config, "--burst", "150@0s", "--what-if", "0", "--plot", "again.svg")
    assert (place / "again.svg").read_text() == drawn


def test_a_plot_is_written_in_the_form_its_name_asks_for(program: Program, config: str, place: Path) -> None:
    for name, begins in (("plan.png", b"\x89PNG"), ("plan.pdf", b"%PDF")):
        assert program("plan", config, "--burst", "20@0s", "--what-if", "0", "--plot", name).code == 0
        assert (place / name).read_bytes().startswith(begins)


def test_no_more_limits_are_drawn_than_can_be_told_apart(program: Program, place: Path) -> None:
    entries = [
        {"model_name": "chat", "litellm_params": {"model": "openai/gpt-4o", "api_key": str(key), "rpm": 6, "tpm": 50_000}}
        for key in range(6)
    ]
    (place / "config.json").write_text(json.dumps(entries))
    program("plan", "config.json", "--burst", "80@0s", "--what-if", "0", "--plot", "plan.svg")
    drawn = (place / "plan.svg").read_text()
    assert len(set(re.findall(r">(chat(?: #\d)? [rt]pm)<", drawn))) == plot.MOST_LINES == len(plot.COLOURS)


# ---- on a terminal


def test_a_person_gets_tables(terminal: Callable[..., Terminal], config: str) -> None:
    shown = terminal("plan", config, "--burst", "150@0s", "--tenant", "anna", "--what-if", "1", columns=120)
    assert shown.end() == 0
    text = shown.text
    for words in ("150 calls at once: done after", "0 refused by providers", "everybody", "anna", "deployment", "binding", "what if"):
        assert words in text
    assert re.search(r"chat\s+rpm\s+60\s+\d", text)


def test_where_nothing_binds_a_person_is_told(terminal: Callable[..., Terminal], config: str) -> None:
    shown = terminal("plan", config, "--burst", "2@0s")
    assert shown.end() == 0
    assert "higher limits would change nothing" in shown.text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.97, "60.0 s"),
        (75, "1 m 15 s"),
        (3600, "1 h 00 m"),
        (7_505, "2 h 05 m"),
        (273_600, "3 d 04 h"),
    ],
)
def test_a_span_is_told_in_two_parts(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_a_wait_is_told_shortly() -> None:
    assert [wait(seconds) for seconds in (0.0, 0.0123, 2.5, 75.0)] == ["0", "12 ms", "2.5 s", "1 m 15 s"]
