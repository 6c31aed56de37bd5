"""Walking a listing: every file once, in order, lazily, and nothing lost in silence."""

import os

import pytest

from anystore.errors import BackendError, DoesNotExist
from anystore.web.client import Client
from anystore.web.walk import ListedFile, Problem, walk
from tests.faults import Fault
from tests.servers import nginx, python_http

TREE = ["a-b", "a.b", "a/b/c", "a/b/d/e", "a/b-c", "a/bc", "a0", "b", "ab/c", "z y/50%/#1", "ü/é"]


@pytest.fixture
def client():
    client = Client(retries=0, timeout=2)
    yield client
    client.close()


def fill(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def keys(found):
    found = list(found)
    assert not [one for one in found if isinstance(one, Problem)]
    return [one.key for one in found]


@pytest.mark.parametrize("form", ["html", "json", "xml", "python"])
def test_whole_tree_in_byte_order(client, tmp_path, form):
    fill(tmp_path, TREE)
    server = python_http(tmp_path) if form == "python" else nginx(tmp_path, autoindex_format=form)
    with server as running:
        found = list(walk(client, running.url))
        inside = keys(walk(client, running.url, prefix="a/b/"))
        for file in found:
            assert client.request("GET", file.url).read() == file.key.encode()
    assert [file.key for file in found] == sorted(TREE, key=str.encode)
    assert inside == ["a/b/c", "a/b/d/e"]
    expected = [len(file.key.encode()) if form != "python" else None for file in found]
    assert [file.size for file in found] == expected
    assert all((file.modified is not None) is (form in ("json", "xml")) for file in found)


def test_walk_below_a_url_with_spaces_and_a_token(client, faulty_server):
    fill(faulty_server.behind.root / "über all", TREE)
    url = faulty_server.url + "%C3%BCber%20all?token=s3cret"
    found = list(walk(client, url))
    assert [file.key for file in found] == sorted(TREE, key=str.encode)
    assert {asked.path.partition("?")[2] for asked in faulty_server.asked} == {"token=s3cret"}
    assert all(file.url.endswith("?token=s3cret") for file in found)


def test_each_folder_is_fetched_once_and_only_when_it_is_reached(client, nginx_server):
    fill(nginx_server.root, [f"{folder}/{number}" for folder in "abcdef" for number in range(5)])
    found = walk(client, nginx_server.url)
    assert next(found).key == "a/0"
    assert [request.path for request in nginx_server.requests()] == ["/", "/a/"]
    assert len(list(found)) == 29
    assert [request.path for request in nginx_server.requests()] == ["/", *(f"/{folder}/" for folder in "abcdef")]


def test_missing_folder(client, nginx_server):
    with pytest.raises(DoesNotExist):
        list(walk(client, nginx_server.url + "nothing/"))
    with pytest.raises(DoesNotExist):
        list(walk(client, nginx_server.url, prefix="nothing/"))


def test_page_that_is_no_listing_is_named(client, nginx_server):
    (nginx_server.root / "page.html").write_text("<title>Home</title><a href='a'>a</a>")
    with nginx(nginx_server.root, index="page.html") as server, pytest.raises(BackendError, match="no listing"):
        list(walk(client, server.url))


@pytest.mark.parametrize("status", [403, 404, 500])
def test_folder_that_fails_is_reported_and_the_walk_goes_on(client, faulty_server, status):
    fill(faulty_server.behind.root, ["a/x", "b/x", "c/x"])
    faulty_server.always(Fault(status=status), path="/b/")
    found = list(walk(client, faulty_server.url))
    assert [one.key for one in found] == ["a/x", "b/", "c/x"]
    assert isinstance(found[1], Problem)
    assert not found[1].foreign
    assert f"{status}" in str(found[1].error)


def test_listing_that_is_cut_is_no_short_listing(client, faulty_server):
    fill(faulty_server.behind.root, [f"a/{number}" for number in range(50)])
    faulty_server.script(Fault(truncate=1000, strip=("etag",)), path="/a/")
    (found,) = walk(client, faulty_server.url)
    assert isinstance(found, Problem)


def test_folder_that_redirects_elsewhere_is_a_problem(client, faulty_server):
    """A folder behind a login must not be taken for what the login page is."""
    fill(faulty_server.behind.root, ["a/x", "b/x"])
    faulty_server.always(Fault(status=302, headers={"Location": "/a/"}), path="/b/")
    found = list(walk(client, faulty_server.url))
    assert [one.key for one in found] == ["a/x", "b/"]
    assert "redirects" in str(found[1].error)


def test_page_in_place_of_a_folder_is_listed_as_its_index(client, nginx_server):
    fill(nginx_server.root, ["a/index.html", "a/hidden", "b"])
    with nginx(nginx_server.root, index="index.html") as server:
        found = list(walk(client, server.url))
        assert [(file.key, file.hides_folder) for file in found] == [("a/index.html", True), ("b", False)]
        assert client.request("GET", found[0].url).read() == b"a/index.html"
        assert keys(walk(client, server.url, prefix="a/")) == ["a/index.html"]
    assert keys(walk(client, nginx_server.url)) == ["a/hidden", "a/index.html", "b"]


def test_loop_of_links_ends(client, nginx_server):
    fill(nginx_server.root, ["a/x"])
    os.symlink("..", nginx_server.root / "a" / "up")
    found = list(walk(client, nginx_server.url, max_depth=6))
    files = [one.key for one in found if isinstance(one, ListedFile)]
    assert files == ["a/up/a/up/a/x", "a/up/a/x", "a/x"]
    (problem,) = [one for one in found if isinstance(one, Problem)]
    assert "6 folders deep" in str(problem.error)


def test_walk_of_too_many_folders_ends_with_a_problem(client, nginx_server):
    fill(nginx_server.root, ["a/x", "b/x", "c/x"])
    found = list(walk(client, nginx_server.url, max_folders=2))
    assert [one.key for one in found] == ["a/x", "b/"]
    assert isinstance(found[1], Problem)


def test_names_that_cannot_be_keys_are_reported(client, nginx_server):
    fill(nginx_server.root, ["a/x"])
    (nginx_server.root / "a" / "back\\slash").touch()
    deep = "/".join(["n" * 200] * 5)
    fill(nginx_server.root, [f"{deep}/{'m' * 100}"])
    found = list(walk(client, nginx_server.url))
    assert [one.key for one in found if isinstance(one, ListedFile)] == ["a/x"]
    problems = [one for one in found if isinstance(one, Problem)]
    assert [one.key for one in problems] == ["a/back\\slash", f"{deep}/{'m' * 100}"]
    assert all(one.foreign for one in problems)


def test_our_own_folder_is_passed_over(client, python_http_server):
    fill(python_http_server.root, [".anystore/journal", "a/.anystore/x", ".anystore2"])
    assert keys(walk(client, python_http_server.url)) == [".anystore2", "a/.anystore/x"]
    assert "/.anystore/" not in [request.path for request in python_http_server.requests()]
