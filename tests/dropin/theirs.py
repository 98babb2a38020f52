"""Tests that the installed jwst brings along, as tests of a module of ours."""

from collections import Counter
from collections.abc import Collection, Iterable
from importlib import resources
from types import ModuleType
from typing import Any

__all__ = ["check_none_is_forgotten", "names_of_tests", "take"]


def names_of_tests(modules: Iterable[ModuleType]) -> Counter:
    """Return the names of all tests of modules, and in how many of them each is."""
    return Counter(name for module in modules for name in vars(module) if name.startswith("test_"))


def take(
    namespace: dict[str, Any], modules: Iterable[ModuleType], left_out: Collection[str]
) -> None:
    """Put tests and fixtures of modules into another: pytest runs them there."""
    for module in modules:
        for name, value in vars(module).items():
            is_test = name.startswith("test_") and name not in left_out
            if is_test or type(value).__name__.startswith("Fixture"):
                namespace[name] = value


def check_none_is_forgotten(
    namespace: dict[str, Any],
    package: ModuleType,
    modules: Collection[ModuleType],
    not_ours: Collection[str],
    left_out: Collection[str],
) -> None:
    """Check that each module of a package, and each test of those taken, is run or listed."""
    files = {
        path.name.removesuffix(".py")
        for path in resources.files(package).iterdir()
        if path.name.startswith("test_") and path.name.endswith(".py")
    }
    run = {module.__name__.rpartition(".")[2] for module in modules}
    assert files == run | set(not_ours)
    assert not run & set(not_ours)
    names = names_of_tests(modules)
    assert max(names.values()) == 1  # or one would hide the other
    assert set(left_out) <= names.keys()
    for module in modules:
        for name in names.keys() & vars(module).keys():
            assert (namespace.get(name) is vars(module)[name]) == (name not in left_out)
