"""The pages hold together: links lead somewhere, both READMEs tell the same, tables keep their shape."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks, pages


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"], ids=names)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    inner = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]
    assert [target for target in inner if target and not (page.parent / target).exists()] == []


def shape(code: str) -> str:
    """The code without its texts and comments, model names kept: nothing else may differ between languages."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = [value for value in node.values if isinstance(value, ast.FormattedValue)]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"[\w.-]+/[\w./-]+", node.value, re.A):
            node.value = ""
    return ast.dump(tree)


def test_both_readmes_show_the_same() -> None:
    english, chinese = (blocks((ROOT / name).read_text("utf-8")) for name in ("README.md", "README.zh-CN.md"))
    assert [block.language for block in english] == [block.language for block in chinese]
    for ours, theirs in zip(english, chinese, strict=True):
        if ours.language == "python":
            assert shape(ours.text) == shape(theirs.text)


def test_both_readmes_have_the_same_parts() -> None:
    def outline(name: str) -> list[str]:
        return re.findall(r"^#+(?= )|^[-|](?= )", (ROOT / name).read_text("utf-8"), re.M)

    assert outline("README.md") == outline("README.zh-CN.md")


def test_the_page_on_the_command_line_names_every_command() -> None:
    from headrace.cli.app import COMMANDS

    named = set(re.findall(r"^\| `headrace (\w+)`", (ROOT / "docs" / "cli.md").read_text("utf-8"), re.M))
    assert named == set(COMMANDS)
