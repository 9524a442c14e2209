"""What the simulated model says, calls and embeds."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.simulator.asks import Chat, Choice, Tool
from headrace.simulator.embeddings import embedding_base64, embedding_json
from headrace.simulator.instances import instance, tokens_of
from headrace.simulator.model import Model, count_tokens, wanted_tools

MODEL = Model(seed=3)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER, SEARCH = Tool("get_weather", CITY), Tool("webSearch", CITY)


def chat(last: str = "hello", **more: Any) -> Chat:
    return Chat(**{"model": "m", "text": last, "last": last, "prompt_tokens": 5, **more})


def said(ask: Chat, length: int = 30, seed: int = 1, **more: Any) -> Choice:
    answer = MODEL.answer(ask, random.Random(seed), length, **more)
    return answer.choices[0]


@given(st.integers(1, 3000), st.integers(0, 10**6))
def test_sentences_begin_and_end(length: int, seed: int) -> None:
    choice = said(chat(), length, seed)
    assert choice.text[0].isupper()
    assert choice.finish == "stop"
    assert length <= choice.tokens <= length + 40
    assert choice.text.endswith(".")
    assert "".join(choice.pieces) == choice.text


@given(st.integers(0, 50_000))
def test_an_exact_length_is_met_to_the_token(length: int) -> None:
    assert said(chat(), length, exact=True).tokens == length


@given(st.integers(1, 100), st.integers(1, 100))
def test_max_tokens_cuts_and_says_so(length: int, limit: int) -> None:
    choice = said(chat(max_tokens=limit), length, exact=True)
    assert choice.tokens == min(length, limit)
    assert choice.finish == ("length" if length > limit else "stop")


def test_stop_cuts_before_the_first_of_the_sequences() -> None:
    whole = said(chat()).text
    third, fifth = whole.split()[2], whole.split()[4]
    choice = said(chat(stop=(fifth[1:], third[1:])))
    assert choice.finish == "stop"
    assert choice.text == "".join(choice.pieces) == whole[: min(whole.find(third[1:]), whole.find(fifth[1:]))]


def test_a_stop_that_never_comes_changes_nothing() -> None:
    assert said(chat(stop=("§",))) == said(chat())


def test_a_seeded_request_has_one_answer_and_others_differ() -> None:
    def text(ask: Chat, other: int) -> str:
        return MODEL.answer(ask, MODEL.rng(ask, random.Random(other)), 50).choices[0].text

    assert text(chat(seed=7), 1) == text(chat(seed=7, stream=True), 2)
    assert text(chat(seed=7), 1) != text(chat(seed=8), 1)
    assert text(chat("hello", seed=7), 1) != text(chat("goodbye", seed=7), 1)
    assert text(chat(), 1) != text(chat(), 2)


def test_several_choices_differ() -> None:
    answer = MODEL.answer(chat(n=3), random.Random(1), 40)
    assert len({choice.text for choice in answer.choices}) == 3
    assert answer.output_tokens == sum(choice.tokens for choice in answer.choices)


def test_thoughts_come_before_the_answer_and_count() -> None:
    choice = said(chat(reasoning=True), 30, reasoning=10)
    assert len(choice.reasoning) == 10
    assert choice.tokens == 10 + len(choice.pieces)
    starved = said(chat(reasoning=True, max_tokens=6), 30, reasoning=10)
    assert (len(starved.reasoning), starved.pieces, starved.finish) == (6, [], "length")


@pytest.mark.parametrize(
    ("last", "more", "called"),
    [
        ("What is the weather in Paris?", {}, ["get_weather"]),
        ("Call get_weather and then webSearch", {}, ["get_weather", "webSearch"]),
        ("Search for the weather", {}, ["get_weather", "webSearch"]),
        ("Search for the weather", {"parallel_tools": False}, ["get_weather"]),
        ("Tell me a story", {}, []),
        ("Tell me a story", {"tool_choice": "required"}, ["get_weather"]),
        ("search it", {"tool_choice": "required"}, ["webSearch"]),
        ("Tell me a story", {"tool_choice": "=webSearch"}, ["webSearch"]),
        ("What is the weather?", {"tool_choice": "none"}, []),
        ("", {}, []),
    ],
)
def test_tools_are_called_when_asked_for(last: str, more: dict[str, Any], called: list[str]) -> None:
    ask = chat(last, tools=(WEATHER, SEARCH), **more)
    assert [tool.name for tool in wanted_tools(ask)] == called
    choice = said(ask)
    assert [call.name for call in choice.calls] == called
    assert choice.finish == ("tool_calls" if called else "stop")
    assert all("city" in json.loads(call.arguments) for call in choice.calls)
    assert len({call.id for call in choice.calls}) == len(called)


@given(st.integers(1, 40))
def test_a_tool_call_can_be_cut_by_max_tokens(limit: int) -> None:
    ask = chat("weather, search", tools=(WEATHER, SEARCH))
    whole, cut = said(ask), said(chat("weather, search", tools=(WEATHER, SEARCH), max_tokens=limit))
    assert cut.tokens == min(limit, whole.tokens)
    assert cut.finish == ("length" if limit < whole.tokens else "tool_calls")
    assert "".join(call.arguments for call in whole.calls).startswith(cut.calls[0].arguments)


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 12},
        "kind": {"enum": ["a", "b", 3]},
        "count": {"type": "integer", "minimum": 5, "maximum": 9},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 4},
        "when": {"type": "string", "format": "date-time"},
        "maybe": {"type": ["boolean", "null"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "fixed": {"const": "x"},
        "tree": {"$ref": "#/$defs/node"},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]},
        "both": {"allOf": [{"properties": {"p": {"type": "integer"}}, "required": ["p"]}, {"properties": {"q": {"type": "null"}}}]},
    },
    "required": ["name", "kind", "count", "share", "tags", "when", "maybe", "either", "fixed", "tree", "pair", "both"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["value", "children"],
        }
    },
}


@given(st.integers(0, 10**9))
def test_values_satisfy_their_schema(seed: int) -> None:
    made = instance(SCHEMA, random.Random(seed))
    assert set(SCHEMA["required"]) == set(made)
    assert 3 <= len(made["name"]) <= 12
    assert made["kind"] in ["a", "b", 3]
    assert made["count"] in range(5, 10)
    assert 0 < made["share"] <= 1
    assert 2 <= len(made["tags"]) <= 4
    assert all(isinstance(tag, str) for tag in made["tags"])
    assert made["when"][10] == "T"
    assert made["maybe"] in (True, False, None)
    assert made["either"] is None or type(made["either"]) is int
    assert (made["fixed"], type(made["pair"][0]), type(made["pair"][1])) == ("x", int, bool)
    assert type(made["both"]["p"]) is int
    assert depth(made["tree"]) < 12


def depth(node: dict[str, Any]) -> int:
    assert type(node["value"]) is int
    return 1 + max((depth(child) for child in node["children"]), default=0)


@pytest.mark.parametrize(
    ("schema", "test"),
    [
        ({"type": "integer", "multipleOf": 5, "minimum": 12}, lambda value: value % 5 == 0 and value >= 12),
        ({"type": "integer", "maximum": -3}, lambda value: value <= -3),
        ({"type": "number", "multipleOf": 0.5}, lambda value: (value * 2).is_integer()),
        ({"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True}, lambda value: len(value) == len(set(value))),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, lambda value: all(type(item) is int for item in value.values())),
        ({"type": "object", "required": ["x"]}, lambda value: "x" in value),
        ({"type": "string", "format": "uuid"}, lambda value: [len(part) for part in value.split("-")] == [8, 4, 4, 4, 12]),
        ({"properties": {"a": {"type": "null"}}, "required": ["a"]}, lambda value: value == {"a": None}),
        ({"items": {"type": "boolean"}, "minItems": 1}, lambda value: all(type(item) is bool for item in value)),
        ({}, lambda value: isinstance(value, str)),
    ],
)
def test_every_keyword_is_kept(schema: dict[str, Any], test: Any) -> None:
    assert all(test(instance(schema, random.Random(seed))) for seed in range(50))


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/gone"}, {"type": "thing"}])
def test_a_schema_that_means_nothing_is_told(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"schema (reference|type)"):
        instance(schema, random.Random(0))


def test_an_answer_by_schema_is_json_and_an_object_when_nothing_more_is_asked() -> None:
    assert set(json.loads(said(chat(schema=SCHEMA)).text)) == set(SCHEMA["required"])
    assert isinstance(json.loads(said(chat(schema={})).text), dict)


@given(st.text())
def test_json_is_cut_into_tokens_without_loss(text: str) -> None:
    assert "".join(tokens_of(text)) == text


@given(st.text(max_size=50), st.integers(1, 300))
def test_an_embedding_is_stable_of_unit_length_and_of_the_dimension_asked(text: str, dimensions: int) -> None:
    vector = json.loads(embedding_json(text, dimensions))
    assert len(vector) == dimensions
    assert math.sqrt(sum(value * value for value in vector)) == pytest.approx(1, abs=1e-6)
    assert vector == json.loads(embedding_json(text, dimensions))
    packed = base64.b64decode(json.loads(embedding_base64(text, dimensions)))
    assert struct.unpack(f"<{dimensions}f", packed) == pytest.approx(vector, abs=1e-6)


def test_different_inputs_have_different_embeddings() -> None:
    inputs: list[Any] = ["a", "b", "A", "", [1, 2], [12], "1,2"]
    assert len({embedding_json(item, 64) for item in inputs}) == len(inputs)
    one, other = (json.loads(embedding_json(text, 1536)) for text in ("wheel", "water"))
    assert abs(sum(a * b for a, b in zip(one, other, strict=True))) < 0.3


@pytest.mark.parametrize(("characters", "tokens"), [(0, 1), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_a_prompt_has_a_token_for_every_four_characters(characters: int, tokens: int) -> None:
    assert count_tokens(characters) == tokens
