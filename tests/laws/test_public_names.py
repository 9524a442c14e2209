"""The public names of `headrace`: the same list for `dir()`, type checkers and `from headrace import *`."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import headrace
from headrace import errors
from laws.source import PACKAGE, modules

CALLS = ["completion", "text_completion", "embedding"]
PROMISED = [*CALLS, *(f"a{name}" for name in CALLS), "Router", "settings", "Settings", "Timeouts", "install_as_litellm"]


def stub() -> dict[str, str]:
    """Names that the stub declares, and the module it imports each from."""
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    return {alias.asname or alias.name: str(node.module) for node in froms for alias in node.names}


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names_exist(name: str) -> None:
    assert name in headrace.__all__
    assert getattr(headrace, name) is not None


@pytest.mark.parametrize("name", headrace.__all__)
def test_a_public_name_is_the_object_that_type_checkers_see(name: str) -> None:
    assert getattr(headrace, name) is getattr(import_module(stub()[name]), name)


def test_type_checkers_see_no_other_names() -> None:
    assert sorted(stub()) == sorted(headrace.__all__)


def test_every_exception_is_public() -> None:
    raised = {cls.__name__ for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, errors.HeadraceError)}
    assert {name for name in raised if not name.startswith("_")} <= set(headrace.__all__)


def test_star_import_and_dir_agree() -> None:
    namespace: dict[str, object] = {}
    exec("from headrace import *", namespace)
    assert set(headrace.__all__) <= namespace.keys()
    assert set(headrace.__all__) <= set(dir(headrace))


@pytest.mark.parametrize("name", CALLS)
def test_every_call_has_an_async_twin_with_the_same_parameters(name: str) -> None:
    for owner in (headrace, headrace.Router):
        blocking, suspending = getattr(owner, name), getattr(owner, f"a{name}")
        assert inspect.iscoroutinefunction(suspending)
        assert not inspect.iscoroutinefunction(blocking)
        assert list(inspect.signature(blocking).parameters) == list(inspect.signature(suspending).parameters)


def test_an_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'headrace' has no attribute 'complete'"):
        _ = headrace.complete


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert headrace.__version__ == version("headrace")


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_a_public_name_does_not_depend_on_import_order() -> None:
    """`import headrace.x` binds `headrace.x` to that module, which must not hide a public object of the same name."""
    probe = "import sys, headrace; from importlib import import_module\nfor name in sys.argv[1:]: import_module(name)\n"
    probe += "print([n for n in headrace.__all__ if type(getattr(headrace, n)).__name__ == 'module'])"
    tops = [name for name in modules() if name.count(".") == 1 and not name.endswith("__main__")]
    done = subprocess.run([sys.executable, "-c", probe, *tops], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
