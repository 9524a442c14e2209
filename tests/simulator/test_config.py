"""Configuration: loaded, checked, and wrong values told by the name of their field. Faults as text."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.simulator.config import Lognormal, ProviderConfig, SimulatorConfig, load
from headrace.simulator.engine import Incoming
from headrace.simulator.faults import BadFault, Fault, FaultBook, FaultRule, Wish, make_fault, parse_wish
from headrace.simulator.fleet import Fleet

TOML = """
seed = 4
port = 0

[[providers]]
name = "azure-eu"
models = ["gpt-sim"]
rpm = 600
tpm = 60_000
enforcer = "fixed"
windows = [1, 10]
accounting = "reserve"
ttft = {median = 0.2, sigma = 0.3}
gap = 0.01

[[providers.faults]]
kind = "status"
status = 529
probability = 0.1
until = 30
"""


def test_toml_json_and_a_mapping_say_the_same(tmp_path: Path) -> None:
    import tomllib

    content = tomllib.loads(TOML)
    (tmp_path / "a.toml").write_text(TOML, "utf-8")
    (tmp_path / "a.json").write_text(json.dumps(content), "utf-8")
    config = load(tmp_path / "a.toml")
    assert config == load(str(tmp_path / "a.json")) == load(content)
    provider = config.provider("azure-eu")
    assert [(rule.name, rule.amount) for rule in provider.rules()] == [
        ("requests/60s", 600), ("tokens/60s", 60_000), ("requests/1s", 10), ("requests/10s", 100),
    ]  # fmt: skip
    assert provider.faults[0].rule() == FaultRule(Fault("status", 529), 0.1, until=30)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"providers": [{"name": "a", "rpm": "many"}]}, r"providers\[0\]\.rpm: Expected `float \| null`, got `str`"),
        ({"providers": [{"name": "a", "rpm": 0}]}, r"providers\[0\]\.rpm: .* > 0"),
        ({"providers": [{"name": "a", "rps": 3}]}, r"providers\[0\]: .*unknown field `rps`"),
        ({"providers": [{"rpm": 3}]}, r"providers\[0\]: .*missing required field `name`"),
        ({"providers": [{"name": "a/b"}]}, r"providers\[0\]\.name"),
        ({"providers": [{"name": "stats"}]}, r"'stats' is a path of the simulator itself"),
        ({"providers": [{"name": "a"}, {"name": "a"}]}, r"the name 'a' is used twice"),
        ({"providers": []}, r"providers"),
        ({"providers": [{"name": "a", "windows": [1]}]}, r"windows divide rpm"),
        ({"providers": [{"name": "a", "ttft": -1}]}, r"ttft must be zero or more"),
        ({"providers": [{"name": "a", "ttft": {"median": 0}}]}, r"ttft\.median"),
        ({"providers": [{"name": "a", "enforcer": "leaky"}]}, r"providers\[0\]\.enforcer"),
        ({"providers": [{"name": "a", "faults": [{"kind": "explode"}]}]}, r"faults\[0\]\.kind"),
        ({"providers": [{"name": "a", "faults": [{"kind": "status", "status": 200}]}]}, r"faults\[0\]: .*from 400 to 599"),
        ({"providers": [{"name": "a", "port": 9000}], "port": 9000}, r"same port"),
        ({"port": 99_999}, r"port"),
    ],
)
def test_a_mistake_is_told_by_its_field(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        load(content)


@pytest.mark.parametrize(("name", "text", "told"), [("a.toml", "a = = 1", "not valid TOML"), ("a.json", "{", "not valid JSON")])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=told):
        load(tmp_path / name)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "gone.toml")


def test_keys_stay_out_of_the_repr() -> None:
    config = SimulatorConfig(providers=(ProviderConfig(name="a", api_keys=("sk-secret-secret",)),))
    assert "secret" not in repr(config)


def test_a_lognormal_has_the_median_and_spread_it_says() -> None:
    rng = random.Random(1)
    draws = sorted(Lognormal(0.3, 0.5).draw(rng) for _ in range(4000))
    assert statistics.median(draws) == pytest.approx(0.3, rel=0.05)
    assert draws[3365] == pytest.approx(0.3 * 2.718**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("status=500", Wish(Fault("status", 500))),
        ("status=429; retry_after=7", Wish(Fault("status", 429, retry_after=7.0))),
        ("cut;after=3", Wish(Fault("cut", after=3))),
        ("cut&after=3", Wish(Fault("cut", after=3))),
        ("html", Wish(Fault("html", 502))),
        ("slow; factor=3", Wish(Fault("slow", factor=3.0))),
        (" tokens = 50 ; ttft=0.2; gap=0.01 ", Wish(None, 50, 0.2, 0.01)),
        ("error_event; status=529; after=1; tokens=9", Wish(Fault("error_event", 529, after=1), 9)),
        ("", Wish()),
    ],
)
def test_a_wish_is_read(text: str, wish: Wish) -> None:
    assert parse_wish(text) == wish


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("explode", "'explode' is not known; use one of status"),
        ("status=abc", "status must be an integer"),
        ("status=200", "from 400 to 599"),
        ("after=3", "after without a fault"),
        ("tokens=-1", "must be zero or more"),
        ("ttft=nan", "must be zero or more"),
        ("ttft=inf", "must be zero or more"),
    ],
)
def test_a_wish_that_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(BadFault, match=told):
        parse_wish(text)


def test_a_fault_with_an_unknown_field_is_told() -> None:
    with pytest.raises(BadFault, match="color is not known"):
        make_fault("cut", color=3)
    with pytest.raises(BadFault, match="after must not be negative"):
        make_fault("cut", after=-1)


def test_faults_strike_by_turn_by_time_by_model_and_by_chance() -> None:
    cut, html = Fault("cut"), Fault("html", 502)
    book = FaultBook([FaultRule(cut, every=3, models=("a",)), FaultRule(html, since=10, until=20)])
    rng = random.Random(0)
    assert [book.strike("a", 0, rng) for _ in range(6)] == [None, None, cut, None, None, cut]
    assert [book.strike("b", elapsed, rng) for elapsed in (0, 10, 19.9, 20)] == [None, html, html, None]
    book.replace([FaultRule(cut, probability=0.3)])
    struck = sum(book.strike("a", 0, rng) is cut for _ in range(2000))
    assert 500 < struck < 700


def test_a_configuration_made_in_python_is_checked_as_well() -> None:
    with pytest.raises(ConfigurationError, match=r"providers\[0\]\.rpm"):
        Fleet(SimulatorConfig(providers=(ProviderConfig(name="a", rpm=-5),)))
    plain: Any = ({"kind": "status", "status": 503},)
    fleet = Fleet(SimulatorConfig(providers=(ProviderConfig(name="a", faults=plain),)))
    assert fleet.providers["a"].faults.rules == [FaultRule(Fault("status", 503))]


def test_fixed_windows_begin_with_the_simulator() -> None:
    provider = ProviderConfig(name="a", rpm=1, enforcer="fixed", phase=10, ttft=0.0, gap=0.0)
    fleet = Fleet(SimulatorConfig(providers=(provider,)), now=1234.5)
    body = b'{"model": "gpt-sim", "messages": [{"role": "user", "content": "x"}]}'

    def status(elapsed: float) -> int:
        return fleet.handle(Incoming("POST", "/a/v1/chat/completions", {}, body), 1234.5 + elapsed).status

    assert [status(elapsed) for elapsed in (0, 9.9, 10, 69.9, 70)] == [200, 429, 200, 429, 200]
