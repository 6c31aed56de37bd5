"""Object stores pass the suite, on real servers."""

import http.client
import json
import re
import urllib.parse

import pytest

from anystore.backend import Feature
from anystore.backends.objects import from_uri
from anystore.testing import BackendSuite
from anystore.uris import parse_uri
from tests.gcs_xml import xml_writes
from tests.object_servers import BUCKET, fake_gcs
from tests.servers import HOST

CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
NOT_XML = re.compile("[\ufffe\uffff]")
NOWHERE = {
    "obstore takes no control character in a name": lambda key: bool(CONTROLS.search(key)),
    "objects are listed and deleted in XML, which has no U+FFFE and U+FFFF": lambda key: bool(NOT_XML.search(key)),
}


@pytest.fixture(scope="module")
def gcs_server():
    with fake_gcs() as server, xml_writes(server) as proxy:
        ask_google(server.port, "POST", "/storage/v1/b?project=x", json.dumps({"name": BUCKET}).encode())
        yield server, proxy


def ask_google(port, method, path, body=None, kind="application/json"):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse().read()
    connection.close()
    return answer


class InBucket(BackendSuite):
    """Objects are placed by Amazon's own client."""

    unholdable = NOWHERE

    def empty(self):
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            found = [{"Key": one["Key"]} for one in page.get("Contents", [])]
            if found:
                self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": found})

    def place(self, backend, key, data):
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    def peek(self, backend, key):
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def remove(self, backend, key):
        self.s3.delete_object(Bucket=BUCKET, Key=key)


_clients = {}


def client_of(server):
    """Make one client for each server: making one takes longer than most tests."""
    if server.url not in _clients:
        _clients[server.url] = server.s3()
    return _clients[server.url]


def reset(server):
    """Let moto forget everything, which is faster than to delete it."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 200
    connection.close()
    client_of(server).create_bucket(Bucket=BUCKET)


class TestMoto(InBucket):
    @pytest.fixture
    def backend(self, moto_server):
        self.s3 = client_of(moto_server)
        reset(moto_server)
        return from_uri(parse_uri(f"s3://{BUCKET}"), moto_server.config)


class TestSeaweedFS(InBucket):
    unholdable = NOWHERE | {
        "SeaweedFS turns a backslash into a slash": lambda key: "\\" in key,
        "SeaweedFS refuses a last segment over 255 bytes": lambda key: len(key.rpartition("/")[2].encode()) > 255,
    }

    @pytest.fixture
    def backend(self, seaweedfs_server):
        self.s3 = client_of(seaweedfs_server)
        self.empty()
        return from_uri(parse_uri(f"s3://{BUCKET}"), seaweedfs_server.config)


class TestAzurite(BackendSuite):
    """Blobs are placed by Microsoft's own client."""

    unholdable = NOWHERE | {"Azure turns a backslash into a slash": lambda key: "\\" in key}

    @pytest.fixture
    def backend(self, azurite_server):
        if azurite_server.url not in _clients:
            _clients[azurite_server.url] = azurite_server.azure()
        self.blobs = _clients[azurite_server.url]
        for name in list(self.blobs.list_blob_names()):
            self.blobs.delete_blob(name)
        config = {"username": azurite_server.user, "password": azurite_server.password}
        return from_uri(parse_uri(f"az://{BUCKET}"), config | {"endpoint_url": azurite_server.url})

    def place(self, backend, key, data):
        self.blobs.upload_blob(key, data, overwrite=True)

    def peek(self, backend, key):
        return self.blobs.download_blob(key).readall()

    def remove(self, backend, key):
        self.blobs.delete_blob(key)


class TestGoogle(BackendSuite):
    """Objects are placed by Google's JSON interface; obstore's XML writes are turned into it, too."""

    unholdable = NOWHERE

    @pytest.fixture
    def backend(self, gcs_server):
        server, proxy = gcs_server
        self.port = server.port
        for one in json.loads(self.ask("GET", f"/storage/v1/b/{BUCKET}/o")).get("items", []):
            self.remove(None, one["name"])
        return from_uri(parse_uri(f"gs://{BUCKET}"), {"token": "anon", "endpoint_url": proxy.url})

    def ask(self, *request):
        return ask_google(self.port, *request)

    def place(self, backend, key, data):
        query = urllib.parse.urlencode({"uploadType": "media", "name": key})
        self.ask("POST", f"/upload/storage/v1/b/{BUCKET}/o?{query}", data, "application/octet-stream")

    def peek(self, backend, key):
        return self.ask("GET", f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(key, safe='')}?alt=media")

    def remove(self, backend, key):
        self.ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(key, safe='')}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("moto_server", Feature.CREATE | Feature.SWAP | Feature.SORTED),
        ("seaweedfs_server", Feature.CREATE | Feature.SWAP),
        ("azurite_server", Feature.CREATE | Feature.SWAP),
        ("gcs_server", Feature.CREATE | Feature.SWAP),
    ],
)
def test_what_each_service_can_do(request, name, expected):
    """So that no test of the suite passes for a feature that went away unseen."""
    server = request.getfixturevalue(name)
    config = {
        "azurite_server": lambda: {"account_name": server.user, "account_key": server.password},
        "gcs_server": lambda: {"token": "anon"},
    }.get(name, lambda: {"key": server.user, "secret": server.password})()
    scheme = {"azurite_server": "az", "gcs_server": "gs"}.get(name, "s3")
    url = server[1].url if name == "gcs_server" else server.url
    backend = from_uri(parse_uri(f"{scheme}://{BUCKET}"), config | {"endpoint_url": url})
    every = Feature.CREATE | Feature.SWAP | Feature.SORTED
    assert backend.features & every == expected
