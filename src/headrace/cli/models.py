"""`headrace models` and `headrace providers`: lists models and providers."""

from __future__ import annotations

import os
from typing import Any

import click
from rich.text import Text

from headrace.cli.options import calling, chat_target
from headrace.cli.reach import list_models
from headrace.cli.terminal import pretty, say, write_json, write_table
from headrace.providers.catalog import find_key
from headrace.providers.catalog import providers as all_providers
from headrace.providers.rows import Provider


@click.command(short_help="List the models a provider offers.")
@click.option("--provider", metavar="NAME", help="Provider to ask; by default the configured one.")
@calling
@click.option("--json", "as_json", is_flag=True, help="Print the provider's response as JSON.")
def models(provider: str | None, target: dict[str, Any], as_json: bool) -> None:
    """Ask the provider which models your key can use (GET /models)."""
    if provider is not None:
        target = {**target, "model": f"{provider}/models"}
    to = chat_target(**target).destination()
    offered = list_models(to, target["timeout"])
    if as_json:
        write_json(offered)
        return
    for name in sorted(str(model.get("id", model.get("name", ""))) for model in offered):
        say(f"{provider or to.provider.name}/{name}")


@click.command(short_help="List the providers headrace knows.")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--json", "as_json", is_flag=True, help="Print the whole catalogue as JSON.")
def providers(words: tuple[str, ...], as_json: bool) -> None:
    """List the catalogue: each provider's name, operations, address, key variables, and the source of this data.

    With WORDs, list only providers whose name, address or operations contain one of them.
    """
    rows = [row for row in sorted(all_providers(), key=lambda row: row.name) if _meant(row, words)]
    if as_json:
        write_json([_described(row) for row in rows])
        return
    write_table(("", "provider", "offers", "address", "key", "checked"), [_row(row) for row in rows])
    if pretty():
        ready = sum(1 for row in rows if find_key(row, os.environ))
        say(f"{len(rows)} providers; {ready} with a key in the environment", "dim")


def _meant(row: Provider, words: tuple[str, ...]) -> bool:
    said = " ".join((row.name, *row.aliases, row.base_url, *row.offered)).lower()
    return not words or any(word.lower() in said for word in words)


def _row(row: Provider) -> tuple[Any, ...]:
    has_key = bool(find_key(row, os.environ))
    mark = Text("●", style="green") if has_key else Text(" ") if pretty() else Text("")
    address = row.base_url or row.base_url_template or "(your own)"
    key = " or ".join(row.key_envs) + (" (optional)" if row.key_envs and not row.needs_key else "")
    shown = (row.name, ", ".join(row.offered) or "not supported", address, key or "none needed", f"{row.checked} {row.confidence}")
    return (mark, *shown) if pretty() else ("key" if has_key else "-", *shown)


def _described(row: Provider) -> dict[str, Any]:
    return {
        "name": row.name,
        "aliases": list(row.aliases),
        "dialect": row.dialect,
        "offers": list(row.offered),
        "forms": dict(row.forms),
        "unspoken": row.unspoken or None,
        "base_url": row.base_url or row.base_url_template or None,
        "base_url_envs": list(row.base_url_envs),
        "key_envs": list(row.key_envs),
        "needs_key": row.needs_key,
        "has_key": bool(find_key(row, os.environ)),
        "source": row.source,
        "checked": f"{row.checked}",
        "confidence": row.confidence,
    }
