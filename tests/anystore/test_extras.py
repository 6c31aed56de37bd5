"""A library that is not installed is named with the line that installs it."""

import sys

import pytest

from anystore.errors import MissingExtra
from anystore.extras import load, missing


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow" or name == "anystore.tables"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'anystore-dagster\[arrow\]'") as caught:
        load("anystore.tables")
    assert isinstance(caught.value, ImportError)


def test_a_mistake_of_ours_is_not_taken_for_a_missing_library():
    with pytest.raises(ModuleNotFoundError):
        load("anystore.no_such_module")


def test_a_library_of_no_extra_is_named_itself():
    assert str(missing("smbprotocol", needed_by="smb://")).endswith("pip install smbprotocol")
