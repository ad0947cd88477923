"""A public name of a package is found, whichever modules were imported before."""

import importlib
from inspect import ismodule

import pytest

from tests.test_documentation import ROOT

PACKAGES = ("streams", "state", "static_layer", "dynamic_layer", "agents")


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_name_is_that_of_another_module(name):
    """The import of a module sets it as an attribute of its package, in the place of the name."""
    package = importlib.import_module(name)
    for path in sorted((ROOT / name).iterdir()):
        if path.stem in package.__all__ and (path.suffix == ".py" or path.is_dir()):
            importlib.import_module(f"{name}.{path.stem}")
    modules = [public for public in package.__all__ if ismodule(getattr(package, public))]
    assert modules == []
