"""What the fast path reads of a body, and which bodies take the slow path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.gateway.fast_path.bodies import FEW, read_body
from headrace.gateway.fast_path.long_texts import LEAST

LONG = "The water runs in the headrace. " * 1000


def body(text: str, **more: object) -> bytes:
    return json.dumps({"model": "gpt", "messages": [{"role": "user", "content": text}], **more}, separators=(",", ":")).encode()


@pytest.mark.parametrize("text", [LONG, LONG + "6" * 10, LONG + "16 " * (2 * FEW), "64 " + LONG])
def test_a_long_text_goes_on_unread(text: str) -> None:
    found = read_body(body(text))
    assert found is not None
    assert json.loads(b"".join(found.named(b'{"model":"there"'))) == {"model": "there", "messages": [{"role": "user", "content": text}]}


_texts = st.lists(
    st.sampled_from(["a", '"', "\\", "\n", "ü", "水", "[", "{", ":", ",", " " * 900, "w" * 5_000, "\\" * 40]), max_size=24
).map("".join)
_parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": _texts}), min_size=1, max_size=3)
_messages = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": _texts | _parts}), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(messages=_messages, before=st.binary(max_size=40), ascii=st.booleans(), stop=_texts)
def test_long_texts_are_stepped_over_and_nothing_is_lost(messages: list[object], before: bytes, ascii: bool, stop: str) -> None:
    """Whatever stands in them and around them."""
    whole = {"model": "gpt", "messages": messages, "stop": [stop, 1, 2], "temperature": 0.5}
    content = json.dumps(whole, ensure_ascii=ascii).encode()
    found = read_body(before + content, begin=len(before))
    assert found is not None
    assert json.loads(b"".join(found.named(b'{"model":"gpt"'))) == whole
    assert found.prompt == len(json.dumps(messages, ensure_ascii=ascii).encode()) // 4 + 1
    assert all(len(text) >= LEAST for text in found.long)


@pytest.mark.parametrize("slashes", [1, 2, 31, 32, 33, 200, 100_000])
def test_backslashes_at_a_long_text_s_end_are_its_own(slashes: int) -> None:
    text = LONG + "\\" * slashes
    found = read_body(body(text + '"' + LONG))
    assert found is not None
    assert json.loads(b"".join(found.named(b'{"model":"there"')))["messages"][0]["content"] == text + '"' + LONG
    assert bool(found.long)


def test_a_long_text_is_neither_copied_nor_read() -> None:
    content = body(LONG)
    found = read_body(content)
    assert found is not None
    assert [text.obj for text in found.long] == [content]
    assert sum(map(len, found.fields.values())) < 200


@pytest.mark.parametrize("name", ["model", "user"])
def test_what_is_ours_to_read_is_read_whole_however_long(name: str) -> None:
    """A mark in its place would have gone into the ledger."""
    assert read_body(body(LONG, **{name: LONG})) is None
    found = read_body(body("hello", user="u" * 3000))
    assert found is not None
    assert found.user == "u" * 3000


@pytest.mark.parametrize("filler", [" " * 20_000, "1," * 10_000, "[]" * 10_000, ":" * 20_000])
@pytest.mark.parametrize("place", range(12))
def test_what_stands_between_two_strings_is_no_text(filler: str, place: int) -> None:
    """Of JSON that is none: what is passed on is as wrong as it came, and says nothing else than that."""
    parts = ["{", '"model":', '"gpt"', ",", '"messages":', "[{", '"role":', '"user",', '"content":', '"hello"', "}]", "}"]
    content = "".join([*parts[:place], filler, *parts[place:]]).encode()
    found = read_body(content)
    if found is not None:
        assert filler.encode() in b"".join(found.named(b'{"model":"gpt"')) or json.loads(content)["model"] == "gpt"


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
