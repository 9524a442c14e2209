"""`headrace embed`."""

from __future__ import annotations

import json

import pytest
from tests.cli.shell import Program

pytestmark = pytest.mark.usefixtures("configured")


def test_each_text_is_a_line_with_its_dimension_and_first_numbers(program: Program) -> None:
    code, out, err = program("embed", "water mill", "head race")
    assert (code, err) == (0, "")
    texts, dimensions, numbers = zip(*(line.split("\t") for line in out.splitlines()), strict=True)
    assert texts == ("water mill", "head race")
    assert dimensions == ("1536", "1536")
    assert all(len(first.split()) == 5 for first in numbers)


def test_dimensions_are_asked_for(program: Program) -> None:
    assert program("embed", "--dimensions", "8", "water").out.split("\t")[1] == "8"


def test_lines_are_read_from_a_pipe(program: Program) -> None:
    assert [line.split("\t")[0] for line in program("embed", stdin="one\n\n two \n").out.splitlines()] == ["one", "two"]
    assert program("embed", "-", stdin="one\n").out.startswith("one\t")


def test_json_is_all_of_it(program: Program) -> None:
    answer = json.loads(program("embed", "--json", "--dimensions", "8", "water").out)
    assert len(answer["data"][0]["embedding"]) == 8


def test_nothing_to_embed_is_bad_usage(program: Program) -> None:
    code, _, err = program("embed")
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing to embed" in err
