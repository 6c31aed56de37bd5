"""The conformance suite that every backend passes, and strategies for property tests.

Needs pytest and hypothesis. A backend is tested by one class with one fixture:

    class TestMine(BackendSuite):
        @pytest.fixture
        def backend(self, tmp_path):
            return MyBackend(tmp_path)
"""

from anystore.testing.awkward import AWKWARD_KEYS
from anystore.testing.strategies import json_values, keys, prefixes
from anystore.testing.suite import BackendSuite

__all__ = ["AWKWARD_KEYS", "BackendSuite", "json_values", "keys", "prefixes"]
