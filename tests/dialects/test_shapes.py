"""Whatever Bedrock's service model allows of Converse is read and written again, also what no recording shows."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import Any

import pytest

from dialects.test_sdk_values import ASKED, FULL, TARGET, differing
from headrace.dialects import load
from headrace.errors import APIResponseValidationError, HeadraceError
from headrace.wire import Frame, Headers, HttpResponse

session = pytest.importorskip("botocore.session", reason="Bedrock's service model comes with botocore")
CONVERSE = load("bedrock_converse")
TEXTS = ("a", "hello world", "über\n", "id_1")
PLAIN = {
    "integer": lambda chance: chance.choice((1, 2, 7, 4096)), "long": lambda chance: chance.choice((1, 4096)),
    "float": lambda chance: chance.choice((0.5, 1.0)), "double": lambda chance: chance.choice((0.5, 1.0)),
    "boolean": lambda chance: chance.random() < 0.5, "blob": lambda _: "aGk=",
}  # fmt: skip


@cache
def shape(name: str) -> Any:
    return session.get_session().get_service_model("bedrock-runtime").shape_for(name)


def made(of: Any, chance: Random, full: float, depth: int = 0) -> Any:
    """JSON of a shape. full: how likely a member that may be left out is given."""
    kind = of.type_name
    if kind == "structure":
        return _object(of, chance, full, depth)
    if kind == "list":
        return [made(of.member, chance, full, depth + 1) for _ in range(chance.choice((1, 1, 2) if depth < 5 else (0, 1)))]
    if kind == "map":
        return {chance.choice(("key", "other")): made(of.value, chance, full, depth + 1)}
    if kind == "string":
        return chance.choice(of.enum) if of.enum else _text(of.name, chance)
    return PLAIN[kind](chance)


def _object(of: Any, chance: Random, full: float, depth: int) -> Any:
    if getattr(of, "is_document_type", False):
        return chance.choice(({"a": 1}, {"deep": {"x": [1, "y"]}}))
    if getattr(of, "is_tagged_union", False) or of.name == "ConverseStreamOutput":
        name = chance.choice(list(of.members))
        return {name: made(of.members[name], chance, full, depth + 1)}
    inside = {name: member for name, member in of.members.items() if not member.serialization.get("location")}
    kept = full / (1 + max(0, depth - 3))
    given = [name for name in inside if name in of.required_members or chance.random() < kept]
    return {name: made(inside[name], chance, full, depth + 1) for name in given}


def _text(name: str, chance: Random) -> str:
    """Of the texts that are more than a text, one that is sound; of others any."""
    return "s3://bucket/key" if name == "S3Uri" else chance.choice(TEXTS)


def test_any_answer_that_the_service_model_allows_is_written_as_it_came() -> None:
    wrong = []
    for seed in range(200):
        body = made(shape("ConverseResponse"), Random(seed), FULL[seed % len(FULL)])
        if "message" not in body.get("output", {}):
            continue
        body["output"]["message"]["role"] = "assistant"
        hub = CONVERSE.read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, TARGET)
        wrong += [f"{seed}: {problem}" for problem in differing(body, json.loads(json.dumps(CONVERSE.write_response(hub))))]
    assert not wrong


def test_any_request_that_the_service_model_allows_is_produced_again() -> None:
    """Turns of one side behind each other, which Converse refuses, are one."""
    wrong = []
    for seed in range(200):
        body = made(shape("ConverseRequest"), Random(seed), FULL[seed % len(FULL)])
        body.pop("outputConfig", None)  # its schema is JSON in a text
        if not body.get("messages"):
            continue
        produced = json.loads(CONVERSE.write_request(CONVERSE.read_request(body), TARGET).body)
        wrong += [f"{seed}: {problem}" for problem in differing({**body, "messages": together(body["messages"])}, produced)]
    assert not wrong


def together(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = []
    for turn in turns:
        if written and written[-1]["role"] == turn["role"]:
            written[-1] = {**written[-1], "content": written[-1]["content"] + turn["content"]}
        else:
            written.append(turn)
    return written


def test_any_event_that_the_service_model_allows_is_taken() -> None:
    """A piece of a call whose beginning was never told is refused: nobody could be given its name."""
    wrong = []
    for seed in range(200):
        chance, reader = Random(seed), CONVERSE.read_stream(ASKED, TARGET)
        for _ in range(5):
            [(name, payload)] = made(shape("ConverseStreamOutput"), chance, FULL[seed % len(FULL)]).items()
            if "toolUse" in payload.get("delta", {}):
                continue
            try:
                reader.feed(Frame(json.dumps(payload).encode(), name))
            except APIResponseValidationError as error:
                wrong.append(f"{seed}: {name}: {error}")
            except HeadraceError:
                break  # the event was an error
    assert not wrong


SYSTEM, USER = {"role": "system", "content": [{"text": "be short"}]}, {"role": "user", "content": [{"text": "hi"}]}


@pytest.mark.parametrize("body", [{"messages": [SYSTEM, USER]}, {"system": [{"text": "first"}], "messages": [USER, SYSTEM, USER]}])
def test_a_system_turn_among_the_others_stays_where_it_stood(body: dict[str, Any]) -> None:
    """It was refused: botocore 1.44 has the role, which the first models of Converse had not."""
    assert json.loads(CONVERSE.write_request(CONVERSE.read_request(body), TARGET).body) == body


@pytest.mark.parametrize("said", [[], None])
def test_an_empty_input_beside_a_stored_conversation_is_sent_as_it_is(said: Any) -> None:
    """It was refused, although what is said stands in the conversation."""
    body = {"model": "model", "conversation": "conv_1", "input": said}
    responses = load("openai_responses")
    assert json.loads(responses.write_request(responses.read_request(body), TARGET).body) == body
