"""What is read of a body in passing, and what sends it the long way."""

from __future__ import annotations

import json

import pytest

from headrace.gateway.straight.bodies import FEW, read_body

LONG = "The water runs in the headrace. " * 1000


def body(text: str, **more: object) -> bytes:
    return json.dumps({"model": "gpt", "messages": [{"role": "user", "content": text}], **more}, separators=(",", ":")).encode()


@pytest.mark.parametrize("text", [LONG, LONG + "6" * 10, LONG + "16 " * (2 * FEW), "64 " + LONG])
def test_a_long_text_goes_on_unread(text: str) -> None:
    found = read_body(body(text))
    assert found is not None
    assert json.loads(b"".join(found.named(b'{"model":"there"'))) == {"model": "there", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("before", ["", "6", "16 " * (2 * FEW)])
def test_what_holds_a_picture_is_looked_at_as_a_whole(before: str) -> None:
    """Its tokens are not those of a text of that length."""
    assert read_body(body(before + LONG + "data:image/png;base64,iVBORw0KGgo=")) is None
    assert read_body(body("base64" + before + LONG)) is None


@pytest.mark.parametrize(
    ("more", "most"),
    [({}, None), ({"max_tokens": 20}, 20), ({"max_completion_tokens": 7, "max_tokens": 20}, 7), ({"max_tokens": 20, "n": 3}, 60)],
)
def test_the_most_that_may_be_written_is_known(more: dict[str, int], most: int | None) -> None:
    found = read_body(body("hello", **more))
    assert found is not None
    assert found.most == most


@pytest.mark.parametrize("deep", [120, 140])
def test_depth_is_bounded(deep: int) -> None:
    content = body("hello", response_format=json.loads("[" * deep + "]" * deep))
    assert (read_body(content) is None) == (deep > 128)


def test_brackets_in_a_text_are_no_depth() -> None:
    assert read_body(body("{[" * 1000)) is not None


@pytest.mark.parametrize("name", ["file_id", "file\\u005fid", "\\u0066ile_id"])
@pytest.mark.parametrize("text", ["hello", LONG])
def test_who_names_a_file_is_looked_at_as_a_whole(name: str, text: str) -> None:
    """Whose it is has to be known, however its name is spelled."""
    part = f'{{"type": "file", "file": {{"{name}": "file-1"}}}}'
    content = f'{{"model": "m", "messages": [{{"role": "user", "content": [{{"type": "text", "text": "{text}"}}, {part}]}}]}}'
    assert read_body(content.encode()) is None
    assert read_body(content.replace(part, '{"type": "text", "text": "\\u00e9"}').encode()) is not None
