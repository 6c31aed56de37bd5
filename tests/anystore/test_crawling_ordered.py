"""A walk lists in the order of keys whatever it lists, and goes on behind any key."""

import pytest

from anystore import get_store
from anystore.backends.wrap import ReadonlyBackend
from anystore.crawling.ordered import ListedDocument, OrderedWalk, UnreadFolder
from anystore.errors import BackendError, InvalidKey
from anystore.store import Store
from tests.faults import Fault

KEYS = ["B", "a", "b.txt", "b/c", "b/d.x", "b/d/e", "b0", "z/1", "z/2", "ö/ü ß.txt"]


def fill(root):
    for key in KEYS:
        path = root / key
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(key)


def keys_of(walk):
    return [one.key for one in walk]


def check_every_start(store):
    assert keys_of(OrderedWalk(store)) == KEYS
    for number, key in enumerate(KEYS):
        assert keys_of(OrderedWalk(store, after=key)) == KEYS[number + 1 :]
    for between, rest in {"b": KEYS[2:], "b/": KEYS[3:], "b/d/": KEYS[5:], "b/zz": KEYS[6:], "z/": KEYS[7:]}.items():
        assert keys_of(OrderedWalk(store, after=between)) == rest


@pytest.mark.parametrize("scheme", ["", "fsspec+file://"])
def test_folders_of_files(tmp_path, scheme):
    fill(tmp_path)
    check_every_start(get_store(f"{scheme}{tmp_path}"))


def test_web_servers(nginx_server, python_http_server):
    for server in (nginx_server, python_http_server):
        fill(server.root)
        check_every_start(get_store(server.url))


def test_what_lists_in_no_order(redis_server):
    store = get_store(f"redis://127.0.0.1:{redis_server.port}/0/ordered")
    store.put_many({key: key for key in KEYS})
    check_every_start(store)


def test_what_is_shown_changes_with_a_document(tmp_path, nginx_server, redis_server):
    redis = get_store(f"redis://127.0.0.1:{redis_server.port}/0/shown")
    for store, place in [(get_store(tmp_path / "x"), None), (redis, None), (get_store(nginx_server.url), nginx_server)]:
        target = store if place is None else get_store(place.root)
        target.put("a.txt", "one")
        before = next(iter(OrderedWalk(store)))
        assert next(iter(OrderedWalk(store))).shown == before.shown
        target.put("a.txt", "longer")
        assert next(iter(OrderedWalk(store))).shown != before.shown


def test_an_address_has_no_secret(nginx_server):
    fill(nginx_server.root)
    store = get_store(nginx_server.url.replace("http://", "http://me:hunter2@"))
    found = next(iter(OrderedWalk(store)))
    assert isinstance(found, ListedDocument)
    assert "hunter2" not in found.url
    assert found.size == 1


def test_patterns_choose_and_spare_requests(nginx_server):
    fill(nginx_server.root)
    store = get_store(nginx_server.url)
    assert keys_of(OrderedWalk(store, glob="b/**", exclude="b/d/**")) == ["b/c", "b/d.x"]
    asked = [one.path for one in nginx_server.requests()]
    assert asked == ["/robots.txt", "/b/"]
    assert keys_of(OrderedWalk(store, exclude=["**/*.txt", "z/**", "b/**"])) == ["B", "a", "b0"]
    with pytest.raises(InvalidKey):
        OrderedWalk(store, exclude="a{")


def test_a_folder_that_cannot_be_read_is_named(nginx_server, faulty_server):
    fill(nginx_server.root)
    faulty_server.always(Fault(status=403), path="/b/")
    store = get_store(faulty_server.url)
    walk = list(OrderedWalk(store))
    assert [one.key for one in walk] == ["B", "a", "b.txt", "b/", "b0", "z/1", "z/2", "ö/ü ß.txt"]
    assert isinstance(walk[3], UnreadFolder)
    assert "403" in walk[3].reason
    assert keys_of(OrderedWalk(store, after="b/c")) == ["b/", "b0", "z/1", "z/2", "ö/ü ß.txt"]


def test_a_page_in_place_of_a_folder_hides_it(python_http_server):
    fill(python_http_server.root)
    (python_http_server.root / "b" / "index.html").write_text("<p>hello")
    (folder,) = (one for one in OrderedWalk(get_store(python_http_server.url)) if one.key.startswith("b/"))
    assert (folder.key, isinstance(folder, UnreadFolder)) == ("b/", True)


def test_a_listing_that_cannot_begin_raises(nginx_server, faulty_server):
    faulty_server.always(Fault(status=500), path="/")
    with pytest.raises(BackendError):
        list(OrderedWalk(get_store(faulty_server.url, backend_config={"retries": 0})))


def test_robots_are_obeyed(nginx_server):
    fill(nginx_server.root)
    (nginx_server.root / "robots.txt").write_text("User-agent: *\nDisallow: /b/\nDisallow: /a\n")
    store = get_store(nginx_server.url)
    seen = keys_of(OrderedWalk(store))
    assert seen == ["B", "b.txt", "b0", "robots.txt", "z/1", "z/2", "ö/ü ß.txt"]
    assert len(keys_of(OrderedWalk(store, robots=False))) == len(KEYS) + 1
    (nginx_server.root / "robots.txt").write_text("User-agent: *\nDisallow: /\n")
    with pytest.raises(BackendError, match=r"robots\.txt does not allow"):
        list(OrderedWalk(store))


def test_robots_that_cannot_be_read_forbid(nginx_server, faulty_server):
    fill(nginx_server.root)
    faulty_server.always(Fault(status=503), path="/robots.txt")
    with pytest.raises(BackendError, match="nobody knows what may be listed"):
        list(OrderedWalk(get_store(faulty_server.url, backend_config={"retries": 0})))


def test_a_listing_in_another_order_is_refused(tmp_path):
    class Muddled(ReadonlyBackend):
        def scan(self, prefix="", after=None):
            return iter(sorted(super().scan(prefix, after), key=lambda entry: entry.key, reverse=True))

    fill(tmp_path)
    with pytest.raises(BackendError, match="not in byte order"):
        list(OrderedWalk(Store(Muddled(get_store(tmp_path).backend))))


def test_links_that_lead_back_up_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")

    class Looping(ReadonlyBackend):
        features = ReadonlyBackend.features

        def children(self, prefix=""):
            yield from super().children("a/" if prefix else "")
            if prefix:
                yield f"{prefix}up/"

    backend = Looping(get_store(f"fsspec+file://{tmp_path}").backend)
    walk = (one for one in OrderedWalk(Store(backend)) if isinstance(one, UnreadFolder))
    assert "more than 40 folders deep" in next(walk).reason
