"""Imports point down the layers listed below; `docs/architecture.md` says why."""

from __future__ import annotations

import graphlib
import sys
import tomllib

import pytest

from laws.source import PACKAGE, Import, imports, modules, read

LAYERS: dict[str, int] = {
    "types": 0, "errors": 0, "fingerprint": 0, "wire": 0, "ports": 0, "framing": 0, "inflate": 0, "bridge": 0, "dotenv": 0, "options": 0,
    "dialects": 1, "providers": 1, "models": 1, "limits": 1, "routing": 1, "objects": 1, "calls": 1, "served": 1, "seals": 0,
    "slices": 0,
    "multipart": 1, "media": 1, "counted": 1,
    "through": 2,
    "client": 2, "core": 2, "destinations": 2, "streams": 2, "rebuild": 2, "fetching": 2, "continuing": 2, "layers": 2, "mocking": 2,
    "writing": 2, "direct": 2, "handlers": 2, "passing": 2, "polling": 2, "downloads": 2,
    "routing.router": 2, "routing.face": 2, "routing.speaking": 2, "routing.engine": 2, "routing.fleet": 2, "routing.asking": 2,
    "routing.attempts": 2, "routing.trail": 2, "routing.checks": 2, "routing.introspection": 2, "routing.fast_path": 2,
    "runtime": 3,
    "gateway": 4, "compat": 4, "cli": 4, "bulk": 4, "planner": 4, "simulator": 4, "settings": 4, "config_file": 4, "proxy_config": 4,
    "api": 4, "fan_out": 4, "routed_keeping": 4, "batch_lines": 1, "kept": 1, "endpoints": 4, "keeping": 4, "speaking": 4, "__main__": 4,
    "": 4,
}  # fmt: skip
"""Layer of each room, the public face `headrace` itself among the topmost. The longest matching name decides."""

UPWARD: dict[tuple[str, str], str] = {
    (
        "headrace.providers.exchange",
        "headrace.runtime.worlds",
    ): "a token is fetched in the credentials' own thread, by the transport of all",
}
"""Late imports that point up, importer and imported, each with its reason."""

PACKAGES: dict[str, set[str]] = {
    "": {"msgspec"},
    "runtime": {"msgspec", "httptools", "httpx2", "redis", "psycopg"},
    "models": {"msgspec", "toktok"},
    "layers": {"msgspec", "prometheus_client", "opentelemetry", "detect_secrets", "phonenumbers", "stdnum", "numpy"},
    "simulator": {"msgspec", "httptools"},
    "cli": {"msgspec", "click", "rich", "uvicorn"},
    "planner": {"msgspec", "matplotlib"},
    "gateway": {"msgspec", "python_multipart", "uvicorn", "websockets", "jwt", "pyarrow"},
    "config_file": {"msgspec", "yaml"},
}
"""Packages from elsewhere that a room may import."""

OWN_CHANCE: dict[tuple[str, str], str] = {
    ("headrace.providers.exchange", "time"): "a token's life is told in seconds from now",
    ("headrace.providers.cloud_auth", "time"): "credentials end at a moment of the wall clock in every world; tests hand in their own",
    (
        "headrace.providers.cloud_credentials",
        "time",
    ): "credentials end at a moment of the wall clock in every world; tests hand in their own",
    ("headrace.providers.signing", "time"): "the same",
    ("headrace.multipart", "secrets"): "a boundary that whoever wrote the file cannot have put into it",
    ("headrace.dialects.forms.buckets", "uuid"): "a name that no other job or object of the account has",
    ("headrace.limits.limiter", "random"): "breaks ties between equally full deployments; tests hand in a seeded generator",
}
"""Pure rooms that fall back on chance of their own, each with its reason."""

NEVER_BELOW_RUNTIME = {"asyncio", "ssl", "socket", "selectors", "subprocess", "multiprocessing", "concurrent", "http", "urllib.request"}


def room(module: str) -> str:
    """The row of `LAYERS` for one of headrace's modules."""
    inner = module.removeprefix("headrace").removeprefix(".")
    matches = [name for name in LAYERS if name and (inner == name or inner.startswith(name + "."))]
    return max(matches, key=len, default=inner)


def layer(module: str) -> int:
    return LAYERS.get(room(module), 4)


def ours(found: Import) -> bool:
    return found.imported.split(".")[0] == "headrace"


def told(broken: list[Import]) -> str:
    return "\n".join(map(str, broken))


def test_every_module_has_a_place() -> None:
    homeless = [name for name in modules() if room(name) not in LAYERS]
    assert not homeless, f"give these a row in LAYERS: {homeless}"


def test_imports_point_down() -> None:
    up = [i for i in imports() if ours(i) and layer(i.imported) > layer(i.importer) and (i.importer, i.imported) not in UPWARD]
    assert not up, told(up)


def test_listed_upward_imports_are_late_and_still_exist() -> None:
    late = {(i.importer, i.imported) for i in imports() if ours(i) and (i.late or i.typing)}
    assert set(UPWARD) <= late, f"no longer needed, or not late: {set(UPWARD) - late}"


def test_late_imports_have_a_reason() -> None:
    silent = [i for i in imports() if i.late and not i.explained and i.importer != "headrace"]
    assert not silent, "a late import is a decision: put its reason in a comment\n" + told(silent)


def test_modules_form_no_cycle() -> None:
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for found in imports():
        if ours(found) and not found.late and not found.typing:
            graph[found.importer].add(found.imported)
    graphlib.TopologicalSorter(graph).prepare()


def test_no_module_imports_the_litellm_package() -> None:
    users = [i for i in imports() if i.imported.startswith("headrace.compat") and not i.importer.startswith("headrace.compat")]
    allowed = ("headrace", "headrace.gateway.callbacks")  # its operators bring loggers that were written for litellm
    assert not [i for i in users if not (i.importer in allowed and i.late)], told(users)


def test_no_internal_module_imports_the_public_package() -> None:
    users = [i for i in imports() if i.imported == "headrace" and layer(i.importer) < 4]
    assert not users, told(users)


def test_third_party_packages_are_imported_only_where_allowed() -> None:
    def allowed(found: Import) -> set[str]:
        return PACKAGES.get(room(found.importer).split(".")[0], PACKAGES[""])

    foreign = [i for i in imports() if not ours(i) and i.imported.split(".")[0] not in sys.stdlib_module_names]
    astray = [i for i in foreign if i.imported.split(".")[0] not in allowed(i)]
    assert not astray, told(astray)


def test_third_party_packages_are_declared() -> None:
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    declared = " ".join([*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)])
    used = {name.replace("_", "-") for names in PACKAGES.values() for name in names}
    assert not [name for name in used if name not in declared]


def test_no_io_below_the_runtime() -> None:
    def heavy(name: str) -> bool:
        return name in NEVER_BELOW_RUNTIME or name.split(".")[0] in NEVER_BELOW_RUNTIME

    broken = [i for i in imports() if layer(i.importer) <= 2 and not i.typing and heavy(i.imported)]
    assert not broken, told(broken)


def test_clock_randomness_and_environment_are_arguments() -> None:
    """Values and pure packages use none of them, so that their tests can be tables."""
    outside = {"time", "random", "secrets", "uuid", "os"}
    broken = [i for i in imports() if layer(i.importer) <= 1 and i.imported.split(".")[0] in outside]
    broken = [i for i in broken if (i.importer, i.imported) not in OWN_CHANCE]
    assert not broken, told(broken)


@pytest.mark.parametrize(
    ("text", "imported", "late", "typing"),
    [
        ("import ssl", "ssl", False, False),
        ("from headrace.wire import Frame", "headrace.wire", False, False),
        ("from headrace import wire", "headrace.wire", False, False),
        ("from headrace import Router", "headrace", False, False),
        ("def f():\n    import ssl", "ssl", True, False),
        ("async def f():\n    if x:\n        from headrace.wire import Frame", "headrace.wire", True, False),
        ("if TYPE_CHECKING:\n    import ssl", "ssl", False, True),
        ("class A:\n    import ssl", "ssl", False, False),
        ("importlib.import_module('headrace.compat')", "headrace.compat", False, False),
    ],
)
def test_the_reader_sees_every_way_to_import(text: str, imported: str, late: bool, typing: bool) -> None:
    (found,) = read("headrace.x", text)
    assert (found.imported, found.late, found.typing) == (imported, late, typing)


def test_the_reader_finds_the_real_ones() -> None:
    assert ("headrace.errors", "headrace.wire") in {(i.importer, i.imported) for i in imports()}
