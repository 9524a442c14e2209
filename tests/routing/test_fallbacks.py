"""The fallbacks of each group."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.errors import ConfigurationError, Kind
from headrace.routing.fallbacks import check_fallbacks, read_fallbacks

GROUPS = {name: name for name in "abcd"} | {"alias": "a"}

BEHIND = read_fallbacks(
    [{"a": ["b"]}, {"*": ["d"]}], context_window=[{"a": ["c"]}], content_policy={"b": ["c"]}, default=["d"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("group", "kind", "behind"),
    [
        ("a", Kind.SERVER, ("b", "d")),
        ("a", Kind.CONTEXT_WINDOW, ("c", "d")),
        ("a", Kind.CONTENT_POLICY, ("b", "d")),
        ("b", Kind.CONTENT_POLICY, ("c", "d")),
        ("c", Kind.SERVER, ("d", "d")),
    ],
)
def test_the_reason_decides_which_groups_are_behind(group: str, kind: Kind, behind: tuple[str, ...]) -> None:
    assert BEHIND.behind([group], kind) == behind


@pytest.mark.parametrize("given", [[{"a": ["b"]}, {"b": ["c"]}], {"a": ["b"], "b": ["c"]}])
def test_both_forms_say_the_same(given: Any) -> None:
    check_fallbacks(read_fallbacks(given), GROUPS.__contains__, lambda name: GROUPS.get(name, name), "abcd")
    assert read_fallbacks(given).general == {"a": ("b",), "b": ("c",)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"general": [{"a": ["nobody"]}]}, "fallbacks of 'a' name 'nobody', which no deployment serves; known: 'a', 'b'"),
        ({"context_window": [{"a": ["nobody"]}]}, "context_window_fallbacks of 'a' name 'nobody'"),
        ({"general": [{"a": ["a"]}]}, "fallbacks form a cycle: 'a' → 'a'"),
        ({"general": [{"a": ["b"]}, {"b": ["c"]}, {"c": ["alias"]}]}, "form a cycle"),
        ({"content_policy": {"a": ["b"], "b": ["a"]}}, "content_policy_fallbacks form a cycle"),
    ],
)
def test_names_must_be_served_and_walks_must_end(options: dict[str, Any], said: str) -> None:
    general = options.pop("general", None)
    with pytest.raises(ConfigurationError, match=said):
        check_fallbacks(read_fallbacks(general, **options), GROUPS.__contains__, lambda name: GROUPS.get(name, name), "ab")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gpt", "fallbacks must be a list"),
        ([1], r"fallbacks\[0\] must be a mapping"),
        ([{"a": "b"}], r"fallbacks\[0\]\['a'\] must be a list"),
    ],
)
def test_what_is_no_list_of_groups_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_fallbacks(given)
