"""The example of a service for tenants, run by a real server: each sees its own, and a cache of its own."""

import asyncio
import http.client
import json
import os
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest

from anystore import get_store
from tests.servers import HOST, ServerError, child, free_port

EXAMPLE = Path(__file__).parents[2] / "examples" / "tenant_service"
TOKENS = {f"secret-{number}-x": f"team-{number}" for number in range(100)}
_numbers = count()


@contextmanager
def serving(uri, tmp_path, monkeypatch, tokens=TOKENS):
    """Run the service, and give its URL."""
    monkeypatch.setenv("ANYSTORE_URI", uri)
    monkeypatch.setenv("TENANT_TOKENS", json.dumps(tokens))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE.parents[1]))
    port = free_port()

    def answers():
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        connection.request("GET", "/openapi.json")
        if connection.getresponse().status != 200:
            raise OSError("not yet")
        connection.close()

    argv = [
        sys.executable,
        "-m",
        "uvicorn",
        "--app-dir",
        str(EXAMPLE),
        "--host",
        HOST,
        "--port",
        str(port),
        "service:app",
    ]
    with child(argv, answers, log=tmp_path / "uvicorn.log"):
        yield f"http://{HOST}:{port}"


@pytest.fixture(params=["folder", "redis"], scope="module")
def store_uri(request, tmp_path_factory):
    if request.param == "folder":
        return str(tmp_path_factory.mktemp("store"))
    server = request.getfixturevalue("redis_server")
    return f"redis://127.0.0.1:{server.port}/0/service-{os.urandom(4).hex()}"


@pytest.fixture(scope="module")
def url(store_uri, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, serving(store_uri, tmp_path_factory.mktemp("service"), patch) as url:
        yield url


@pytest.fixture
def teams():
    """Two tenants that no test has used before: the number of each."""
    return next(_numbers), next(_numbers)


def client(url, team):
    token = f"Bearer secret-{team}-x"
    return httpx.Client(base_url=url, headers={b"Authorization": token.encode()}, timeout=30)


def test_tenants_share_nothing_but_the_store(url, store_uri, teams):
    with client(url, teams[0]) as a, client(url, teams[1]) as b:
        assert a.put("/documents/plan.txt", content=b"one two two").status_code == 204
        assert b.put("/documents/plan.txt", content=b"three").status_code == 204
        assert a.get("/documents/plan.txt").content == b"one two two"
        assert b.get("/documents/plan.txt").content == b"three"
        assert a.get("/words/plan.txt").json() == {"words": 3, "commonest": ["two", "one"]}
        assert b.get("/cache").json()["results"] == 0
        assert b.get("/words/plan.txt").json() == {"words": 1, "commonest": ["three"]}
        assert (a.get("/documents").json(), b.get("/documents").json()) == (["plan.txt"], ["plan.txt"])
    for team in teams:
        assert "documents/plan.txt" in list(get_store(store_uri).under(f"team-{team}").iterate_keys())


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/%2e%2e/team-99/documents/x",
        "..%2f..%2fteam-99/documents/x",
        "%2e%2e%2f%2e%2e%2fteam-99%2fdocuments%2fx",
        "/x",
        ".anystore/x",
    ],
)
def test_no_path_leads_to_another_tenant(url, store_uri, teams, path):
    store = get_store(store_uri)
    store.put("team-99/documents/x", "secret")
    with client(url, teams[0]) as a:
        for answer in (a.get(f"/documents/{path}"), a.get(f"/words/{path}"), a.put(f"/documents/{path}", content=b"y")):
            assert answer.status_code in (400, 404, 405), answer.text
            assert "secret" not in answer.text
    assert store.get("team-99/documents/x") == "secret"
    assert list(store.iterate_keys(f"team-{teams[0]}")) == []


def test_without_a_token_nobody_is_a_tenant(url):
    assert httpx.get(f"{url}/documents").status_code in (401, 403)
    for header in ("Bearer wrong", "Bearer team-1", "Bearer", "Basic x", "Bearer ü"):
        assert httpx.get(f"{url}/documents", headers={b"Authorization": header.encode()}).status_code in (401, 403)


def test_a_result_is_computed_once_and_again_for_a_new_version(url, store_uri, teams):
    cache = get_store(store_uri).under(f"team-{teams[0]}").under("cache")
    with client(url, teams[0]) as a:
        a.put("/documents/a.txt", content=b"x " * 1000)
        a.get("/words/a.txt")
        [key] = list(cache.iterate_keys())
        version = cache.info(key).version
        assert [a.get("/words/a.txt").json()["words"] for _ in range(3)] == [1000] * 3
        assert cache.info(key).version == version
        a.put("/documents/a.txt", content=b"y")
        assert a.get("/words/a.txt").json()["words"] == 1
        assert a.get("/cache").json()["results"] == 2


def test_many_ask_at_once(url, teams):
    async def main():
        headers = {b"Authorization": f"Bearer secret-{teams[0]}-x".encode()}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as asking:
            await asyncio.gather(*(asking.put(f"/documents/{n}.txt", content=b"w " * (n + 1)) for n in range(50)))
            answers = await asyncio.gather(*(asking.get(f"/words/{n % 50}.txt") for n in range(200)))
            return [answer.json()["words"] for answer in answers]

    assert asyncio.run(main()) == [n % 50 + 1 for n in range(200)]


def test_what_is_missing_or_too_large(url, teams):
    with client(url, teams[0]) as a:
        assert a.get("/documents/nothing").status_code == 404
        assert a.get("/words/nothing").status_code == 404
        assert a.put("/documents/big", content=bytes((10 << 20) + 1)).status_code == 413
        assert a.get("/documents/big").status_code == 404


def test_a_store_that_is_down_is_told_without_its_address(tmp_path, monkeypatch):
    with serving(f"redis://user:hunter2@127.0.0.1:{free_port()}/0/x", tmp_path, monkeypatch) as url:
        answer = httpx.get(f"{url}/documents", headers={b"Authorization": b"Bearer secret-1-x"}, timeout=60)
        assert answer.status_code == 503
        assert "127.0.0.1" not in answer.text
    assert "hunter2" not in (tmp_path / "uvicorn.log").read_text()


@pytest.mark.parametrize("tenant", ["team-a/b", "..", "", "/x"])
def test_a_tenant_that_would_see_another_is_refused_at_the_start(tenant, tmp_path, monkeypatch):
    with pytest.raises(ServerError), serving(str(tmp_path), tmp_path, monkeypatch, {"a": "team-a", "b": tenant}):
        pass
