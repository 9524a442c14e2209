"""What a `.env` file says, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dotenv import parse
from headrace.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# only a comment", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("  export  A = 1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A= # tokens a minute", {"A": ""}),
        ("A=1 # one", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ("A=#b", {"A": "#b"}),
        ("A=two words", {"A": "two words"}),
        ("A=x=y", {"A": "x=y"}),
        ("A=it's", {"A": "it's"}),
        ("A='x # y'", {"A": "x # y"}),
        ("A='x\\ny'", {"A": "x\\ny"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="x\\ny"', {"A": "x\ny"}),
        ('A="say \\"hi\\""', {"A": 'say "hi"'}),
        ('A="c:\\\\dir"', {"A": "c:\\dir"}),
        ('A="\\d+"', {"A": "\\d+"}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ("A=\"x\" # why", {"A": "x"}),
        ("A=${HOME}", {"A": "${HOME}"}),
        ('A="$(id) ${HOME} `id`"', {"A": "$(id) ${HOME} `id`"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=模型", {"A": "模型"}),
        ("some.name-x=1", {"some.name-x": "1"}),
    ],
)  # fmt: skip
def test_a_file_means(text: str, values: dict[str, str]) -> None:
    assert parse(text) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nnonsense", "line 2 must read NAME=value"),
        ("1A=2", "line 1 must read NAME=value"),
        ("=x", "line 1 must read NAME=value"),
        ("\n\nA='x", "line 3 opens a quote that is never closed"),
        ('A="x"y', "line 1 has text after its closing quote"),
        ("oops\nA=1\noops", "line 1 must read NAME=value; line 3 must read NAME=value"),
        ('A="one\ntwo"\noops', "line 3 must read NAME=value"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, where="here/.env")
    assert "here/.env" in str(caught.value)
    assert said in str(caught.value)


def test_an_error_never_repeats_the_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("KEY sk-verysecret\nKEY='sk-verysecret\n")
    assert "verysecret" not in str(caught.value)


@given(st.text(alphabet=st.characters(exclude_characters="\r", exclude_categories=("Cs",)), max_size=60))
def test_any_value_can_be_written_in_single_quotes(value: str) -> None:
    written = value.replace("\\", "\\\\").replace("'", "\\'")
    assert parse(f"A='{written}'\nB=after") == {"A": value, "B": "after"}


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        names = set(parse(text))
    except ConfigurationError:
        return
    assert all(name in text for name in names)
