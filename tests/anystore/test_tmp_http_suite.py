import os
import pytest
from anystore.backends.http import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri
import importlib; import tests; from pathlib import Path
TOO={"a segment over 255 bytes": lambda key: max(len(part.encode()) for part in key.split("/")) > 255}
HIDDEN={**TOO,"a name that nginx does not list": lambda key: any(p.startswith(".") for p in key.split("/"))}
import sys; sys.path.insert(0, "tests/anystore"); from test_backends import InFolder
class Web(InFolder):
    def place(self, backend, key, data):
        super().place(backend, key, data)
class TestNginx(Web):
    unholdable = HIDDEN
    @pytest.fixture
    def backend(self, nginx_server):
        self.root = nginx_server.root
        return from_uri(parse_uri(nginx_server.url), {})
class TestPython(Web):
    unholdable = {**TOO, "index":lambda key:"index.html" in key}
    @pytest.fixture
    def backend(self, python_http_server):
        self.root = python_http_server.root
        return from_uri(parse_uri(python_http_server.url), {})
