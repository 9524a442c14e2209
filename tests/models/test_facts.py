"""What is shipped about models, and how a name finds it."""

from __future__ import annotations

import datetime
import math

import msgspec
import pytest

from headrace.models import facts as shipped
from headrace.models.cost import is_price, rates_of
from headrace.models.facts import Catalogue

ROWS = {
    "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1},
    "gpt-4o-2024-05-13": {"litellm_provider": "openai", "input_cost_per_token": 2},
    "azure/gpt-4o": {"litellm_provider": "azure", "input_cost_per_token": 3},
    "anthropic.claude-x-v1:0": {"litellm_provider": "bedrock_converse", "input_cost_per_token": 4},
    "gemini-2": {"litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 5},
    "gemini/gemini-2": {"litellm_provider": "gemini", "input_cost_per_token": 6},
    "ft:gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 7},
    "together_ai/a/b": {"litellm_provider": "together_ai", "input_cost_per_token": 8},
}


@pytest.fixture
def known() -> Catalogue:
    return Catalogue(msgspec.json.encode({"": {"made": "2026-01-01"}, **ROWS}))


@pytest.mark.parametrize(
    ("model", "provider", "row"),
    [
        ("gpt-4o", "openai", "gpt-4o"),
        ("gpt-4o", "", "gpt-4o"),
        ("gpt-4o-2024-05-13", "openai", "gpt-4o-2024-05-13"),
        ("gpt-4o-2024-11-20", "openai", "gpt-4o"),
        ("gpt-4o-latest", "openai", "gpt-4o"),
        ("gpt-4o", "azure", "azure/gpt-4o"),
        ("gpt-4o", "siliconflow", None),
        ("anthropic.claude-x-v1:0", "bedrock", "anthropic.claude-x-v1:0"),
        ("us.anthropic.claude-x-v1:0", "bedrock", "anthropic.claude-x-v1:0"),
        ("gemini-2", "vertex_ai", "gemini-2"),
        ("gemini-2", "gemini", "gemini/gemini-2"),
        ("ft:gpt-4o:org::id", "openai", "ft:gpt-4o"),
        ("a/b", "together_ai", "together_ai/a/b"),
        ("together_ai/a/b", "", "together_ai/a/b"),
        ("gpt-40", "openai", None),
        ("", "", None),
    ],
)
def test_a_model_is_found_by_its_own_name_and_its_providers(known: Catalogue, model: str, provider: str, row: str | None) -> None:
    assert known.find(model, provider) == (None if row is None else ROWS[row])


def test_what_is_registered_counts_beside_what_is_known(known: Catalogue) -> None:
    known.register("gpt-4o", {"output_cost_per_token": 9})
    known.register("mine/model", {"litellm_provider": "mine"})
    assert known.find("gpt-4o", "openai") == {**ROWS["gpt-4o"], "output_cost_per_token": 9}
    assert known.find("model", "mine") == {"litellm_provider": "mine"}
    assert known.names().count("gpt-4o") == 1
    assert known.registrations == 2


def test_the_whole_table_may_be_changed_in_place(known: Catalogue) -> None:
    table = known.table()
    assert table.keys() == ROWS.keys()
    table["gpt-4o"]["input_cost_per_token"] = 0.5
    table["new"] = {"litellm_provider": "openai"}
    assert known.find("gpt-4o", "openai") == {"litellm_provider": "openai", "input_cost_per_token": 0.5}
    assert known.find("new", "openai") is not None


def test_the_shipped_data_says_what_it_is_and_of_which_day() -> None:
    about = shipped.catalogue.about
    assert datetime.date.fromisoformat(about["made"]) >= datetime.date(2026, 11, 28)
    assert {"genai-prices", "litellm"} <= about.keys()


def test_every_shipped_row_names_its_provider_and_has_prices_that_can_be_true() -> None:
    known = Catalogue()
    names = known.names()
    assert len(names) > 4000
    for name in names:
        row = known.row(name)
        assert row is not None
        assert row["source"] in ("genai-prices", "litellm")
        assert row["litellm_provider"]
        prices = {field: value for field, value in row.items() if is_price(field) and not isinstance(value, dict)}
        assert all(0 <= price < math.inf for price in prices.values()), name
        # A token dearer than a cent would be a mistake of a million.
        assert all(price < 0.01 for field, price in prices.items() if field.endswith("_per_token")), name
        rates_of(row)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"), ("claude-sonnet-4-5-20250929", "anthropic"), ("gemini-2.5-pro", "gemini"),
        ("gemini-2.5-pro", "vertex_ai"), ("us.anthropic.claude-sonnet-4-20250514-v1:0", "bedrock"),
        ("mistral-large-latest", "mistral"), ("deepseek-chat", "deepseek"),
        ("llama-3.3-70b-versatile", "groq"), ("text-embedding-3-small", "openai"), ("whisper-1", "openai"), ("rerank-v3.5", "cohere"),
        ("gpt-image-1", "openai"), ("tts-1", "openai"),
    ],
)  # fmt: skip
def test_the_models_everybody_asks_for_have_prices(model: str, provider: str) -> None:
    row = shipped.catalogue.find(model, provider)
    assert row is not None
    assert rates_of(row) is not None
