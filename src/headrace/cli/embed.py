"""`headrace embed`: embeddings of texts."""

from __future__ import annotations

import sys
from typing import Any

import click

from headrace.cli.chat import piped_in
from headrace.cli.options import calling, embedding_target
from headrace.cli.terminal import clean, pretty, write_json, write_table

SHOWN = 5
"""Number of vector components shown."""


@click.command(short_help="Turn texts into embeddings.")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@calling
@click.option("--dimensions", type=click.IntRange(min=1), metavar="N", help="Dimensions of each vector, for models that support it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole response as JSON.")
def embed(texts: tuple[str, ...], target: dict[str, Any], dimensions: int | None, as_json: bool) -> None:
    """Embed each TEXT, or each line of standard input, and print its dimension and first numbers.

    \b
      headrace embed "water mill" "head race"
      headrace embed --json < lines.txt
    """
    inputs = read_texts(texts)
    answer = embedding_target(**target).having(dimensions=dimensions).embed(inputs)
    if as_json:
        write_json(answer)
        return
    rows = [(_short(text), len(vector), _first(vector)) for text, vector in zip(inputs, _vectors(answer), strict=True)]
    write_table(("text", "dimension", f"first {SHOWN}"), rows, right=("dimension",))


def read_texts(texts: tuple[str, ...]) -> list[str]:
    """The texts given, else the non-blank lines of standard input."""
    if texts and texts != ("-",):
        return list(texts)
    lines = [line.strip() for line in sys.stdin] if texts or piped_in() else []
    inputs = [line for line in lines if line]
    if not inputs:
        raise click.UsageError("nothing to embed: give texts, or pipe lines in", click.get_current_context())
    return inputs


def _vectors(answer: Any) -> list[list[float]]:
    return [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]


def _first(vector: list[float]) -> str:
    return " ".join(f"{number:+.4f}" for number in vector[:SHOWN])


def _short(text: str) -> str:
    """The text on one line; cut to 40 characters on a terminal."""
    line = " ".join(clean(text).split())
    return line if len(line) <= 40 or not pretty() else f"{line[:39]}…"
