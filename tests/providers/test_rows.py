"""Every row of the catalogue can be used, and says how it is known."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace import keeping
from headrace.calls import Operation
from headrace.destinations import destination
from headrace.dialects import NAMES
from headrace.dialects.forms import form_of
from headrace.errors import BadRequestError
from headrace.limits.profile import profiles
from headrace.providers.auth import headers_for
from headrace.providers.catalog import catalog, find_base_url, find_key, missing_base_url, missing_key, shipped
from headrace.providers.hybrids import filled
from headrace.providers.rows import PATHS, Provider

ROWS = [pytest.param(row, id=row.name) for row in shipped()]
WITH_VARIANTS = [
    *ROWS,
    *(pytest.param(variant.row, id=f"{row.name} {index}") for row in shipped() for index, variant in enumerate(row.variants)),
]

PARTS = {
    offer: [it.form for it in vars(keeping).values() if isinstance(it, Operation) and it.of == offer] for offer in ("files", "batches")
}
"""What a form of files or batches has to have."""

# The prefixes a program written for litellm 1.106.2 may use for services that chat, embed, rerank, draw, speak or listen.
LITELLM = Path(__file__).with_name("litellm_prefixes.txt").read_text("utf-8").split()


def test_there_are_as_many_as_the_page_says() -> None:
    callable_ones = [prefix for prefix in LITELLM if (row := catalog().get(prefix)) is not None and not row.unspoken]
    said = f"{len(LITELLM)}, of which {len(callable_ones)} can be called. The catalogue has {len(list(shipped()))} rows."
    assert said in (Path(__file__).parents[2] / "docs" / "providers.md").read_text("utf-8")


@pytest.mark.parametrize("prefix", LITELLM)
def test_a_prefix_of_litellm_is_known(prefix: str) -> None:
    assert catalog().get(prefix) is not None


def test_no_name_means_two_shipped() -> None:
    spellings = Counter(spelling for row in shipped() for spelling in (row.name, *row.aliases))
    assert [spelling for spelling, times in spellings.items() if times > 1 or "/" in spelling] == []


@pytest.mark.parametrize("row", WITH_VARIANTS)
def test_a_row_builds_a_url_for_every_operation(row: Provider) -> None:
    env = dict.fromkeys(re.findall(r"[{,](\w+)", row.base_url_template), "abc")
    base_url = row.base_url or find_base_url(row, env) or row.address("https://example.test")
    for operation in PATHS:
        path = filled(row.path(operation), "m", {"id": "1"})
        url = urlsplit(path if "://" in path else base_url + path)
        assert url.scheme in ("http", "https")
        assert url.hostname
        assert "//" not in url.path
        assert "{" not in url.geturl()
        assert url.path.endswith(PATHS[operation].replace("{id}", "1").rpartition("/")[2]) or operation in row.paths


@pytest.mark.parametrize("row", [row for row in shipped() if row.variants])
def test_a_variants_columns_are_meant(row: Provider) -> None:
    """Each can be reached: its own name or address leads to it, and its patterns are patterns."""
    for variant in row.variants:
        assert variant.models or variant.at or variant.versions
        assert variant.row.name == row.name
        for pattern in (variant.models, variant.at, variant.versions):
            re.compile(pattern)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_how_it_is_known(row: Provider) -> None:
    assert row.source
    assert datetime.date(2025, 1, 1) < datetime.date.fromisoformat(row.checked) <= datetime.date.today()
    assert row.dialect in NAMES
    assert all(quirk.source for quirk in row.quirks)


@pytest.mark.parametrize("row", ROWS)
def test_an_address_of_a_row_is_plain(row: Provider) -> None:
    """No trailing slash, no surplus blanks; unencrypted only on one's own machine."""
    for address in filter(None, (row.base_url, row.base_url_template, *row.other_base_urls)):
        assert address == address.strip().rstrip("/")
        assert address.startswith("https://") or urlsplit(address).hostname in ("localhost", "127.0.0.1")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_finds_its_key_and_shows_it(row: Provider) -> None:
    env = {name: f"key from {name}" for name in reversed(row.key_envs)}
    key = find_key(row, env)
    if not row.key_envs:
        assert row.auth.kind == "none"
        return
    assert key == f"key from {row.key_envs[0]}"
    ((name, value),) = headers_for(row, key)
    assert value == (key if row.auth.header else f"{row.auth.scheme} {key}")
    assert name == (row.auth.header or "authorization")
    assert row.key_envs[0] in missing_key(row)
    assert "api_key=" in missing_key(row)


@pytest.mark.parametrize("row", [row for row in shipped() if not row.base_url], ids=lambda row: row.name)
def test_a_row_without_an_address_says_where_to_give_one(row: Provider) -> None:
    assert row.base_url_envs or row.base_url_template
    assert "base_url=" in missing_base_url(row)
    assert all(name in missing_base_url(row) for name in row.base_url_envs)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_an_accounting_that_the_limiter_knows(row: Provider) -> None:
    assert not row.profile or row.profile in profiles()


@pytest.mark.parametrize("row", ROWS)
def test_a_quirk_is_well_formed(row: Provider) -> None:
    for quirk in row.quirks:
        re.compile(quirk.models)
        assert quirk.operation in ("", *PATHS)
        assert quirk.rename or quirk.drop or quirk.refuse or quirk.default
        assert not {*quirk.drop, *quirk.refuse} & {*quirk.rename, *quirk.rename.values()}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_it_offers_and_in_which_form(row: Provider) -> None:
    assert set(row.offers) <= set(PATHS)
    assert row.offers
    assert set(row.forms) <= set(row.offers)
    for operation, name in row.forms.items():
        for part in PARTS.get(operation, [operation]):
            assert form_of(operation, name, part)
    if row.dialect != NAMES[0]:
        assert set(row.offers) <= {"chat", "completions", "embeddings", *row.forms, *row.paths}


@pytest.mark.parametrize("row", [row for row in shipped() if row.unspoken], ids=lambda row: row.name)
def test_a_provider_that_is_not_spoken_says_why_before_anything_is_asked_for(row: Provider) -> None:
    with pytest.raises(BadRequestError, match=re.escape(f"{row.name} cannot be called: {row.unspoken}")):
        destination(f"{row.name}/m", {})
