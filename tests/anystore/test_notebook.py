"""What a notebook shows: quickly, of any store, in any state, whatever its keys are called."""

import socket
import threading
import time
from html.parser import HTMLParser
from itertools import count

import pytest

from anystore import Entry, Feature, Store, crawl, get_store, mirror, notebook
from anystore.backends.memory import MemoryBackend
from anystore.keys import parse_key
from anystore.markup import html_report

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</span></details></div>",
    "'onclick='alert(1)",
    "&lt;b&gt;",
    "\u202etxt.exe",
    "line\nbreak",
]


class Reader(HTMLParser):
    """Reads HTML as a browser does: its elements, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.attributes, self.texts = set(), [], set(), []
        self.feed(html)
        self.close()
        assert self.open == []  # each element is closed, in order

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)


class Counting(MemoryBackend):
    """Counts the entries that were listed, and the listings."""

    def __init__(self, name, features=MemoryBackend.features):
        super().__init__(name)
        self.features = features
        self.listed = self.scans = 0

    def scan(self, prefix="", after=None):
        self.scans += 1
        for entry in super().scan(prefix, after):
            self.listed += 1
            yield entry


def threads_that_look():
    return [thread for thread in threading.enumerate() if thread.name == "anystore-look"]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    deadline = time.monotonic() + 60
    while threads_that_look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_shows_where_it_is_what_it_can_do_and_its_keys(tmp_path):
    store = get_store(tmp_path)
    store.put("reports/2024/may.txt", "x" * 1500)
    store.put("top.txt", "hello")
    shown = Reader(store._repr_html_())
    assert store.uri in shown.text
    assert "write list sorted" in shown.text
    for part in ("reports/", "2024/", "may.txt", "1.5 kB", "top.txt", "5 B", str(store.info("top.txt").modified.year)):
        assert part in shown.text
    assert {"details", "summary"} <= shown.tags


def test_a_secret_is_masked(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store = get_store(f"redis://user:hunter2@127.0.0.1:{port}/0/x")
    html = store._repr_html_()
    assert "hunter2" not in html
    assert "***" in html


@pytest.mark.parametrize(
    "scheme", ["redis://127.0.0.1:{}/0/x", "http://127.0.0.1:{}/files/", "postgresql://127.0.0.1:{}/x"]
)
def test_a_store_that_is_down_shows_its_error(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    store = get_store(scheme.format(port))
    html = store._repr_html_()
    assert "127.0.0.1" in html
    # over HTTP, a connection that is refused is tried again for longer than a notebook waits
    assert ("no answer in 5 seconds" if scheme.startswith("http") else "BackendError") in html


def test_a_store_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(notebook, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(notebook, "_FIRST_SECONDS", 0.1)
    release = threading.Event()

    class Hanging(MemoryBackend):
        def scan(self, prefix="", after=None):
            yield from super().scan()
            release.wait(30)

    backend = Hanging("notebook-hangs")
    backend.put(parse_key("a.txt"), b"x")
    html = Store(backend)._repr_html_()
    assert "a.txt" in html
    assert "takes longer than" in html
    release.set()


def test_features_that_hang_are_not_waited_for(monkeypatch):
    monkeypatch.setattr(notebook, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(notebook, "_FIRST_SECONDS", 0.1)
    release = threading.Event()

    class Probing(MemoryBackend):
        @property
        def features(self):
            release.wait(30)
            return Feature.LIST

    html = notebook.store_html(Probing("notebook-probes"))
    assert "not known yet" in html
    assert "no answer in" in html
    release.set()


def test_a_listing_without_a_match_is_given_up(monkeypatch):
    monkeypatch.setattr(notebook, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(notebook, "_FIRST_SECONDS", 0.1)

    class Endless(MemoryBackend):
        def scan(self, prefix="", after=None):
            return (Entry(f"{number}.txt", 1, None) for number in count())

    html = Store(Endless("notebook-endless")).entries(glob="*.pdf")._repr_html_()
    assert "keys were looked at so far" in html


@pytest.mark.parametrize("features", [MemoryBackend.features, MemoryBackend.features & ~Feature.SORTED])
def test_a_large_store_is_not_listed(features):
    backend = Counting("notebook-large", features)
    backend.put_many((parse_key(f"a/{number:06}"), b"") for number in range(20_000))
    store = Store(backend)
    assert "and more" in store._repr_html_()
    assert backend.listed <= 250
    backend.listed = 0
    assert "and more" in store.entries()._repr_html_()
    assert backend.listed <= 250


def test_folders_behind_a_large_one_are_shown_where_the_backend_can_skip():
    backend = Counting("notebook-folders")
    for folder in ("a", "b c", "d"):
        backend.put_many((parse_key(f"{folder}/{number:06}"), b"") for number in range(1000))
    backend.put(parse_key("z.txt"), b"")
    shown = Reader(notebook.store_html(backend))
    for part in ("a/", "b c/", "d/", "z.txt"):
        assert part in [text.strip() for text in shown.texts]
    assert shown.text.count("and more") == shown.text.count("more than 10 values") == 3
    assert backend.listed < 50
    backend.put_many((parse_key(f"folder-{number}/{inner}"), b"") for number in range(300) for inner in range(30))
    backend.listed = backend.scans = 0
    notebook.store_html(backend)
    assert (backend.listed < 450, backend.scans < 30) == (True, True)


def test_a_complete_tree_does_not_say_that_there_is_more():
    store = get_store("memory://notebook-complete")
    assert "no values" in store._repr_html_()
    store.put("a/b", "x")
    assert "more" not in Reader(store._repr_html_()).text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_and_never_obeyed(name):
    store = get_store("memory://notebook-hostile-" + str(HOSTILE.index(name)))
    flat = name.replace("/", "|")
    for key in (flat, f"folder/{flat}", f"{flat}x/inside"):
        store.put(key, "x")
    entry = next(store.entries())
    for html in (store._repr_html_(), store.entries()._repr_html_(), entry._repr_html_(), store.usage()._repr_html_()):
        shown = Reader(html)
        assert shown.tags <= {"div", "span", "b", "details", "summary", "table", "thead", "tbody", "tr", "th", "td"}
        assert shown.attributes <= {"class", "style", "title", "open"}
        assert "\u202e" not in html


def test_deep_and_long_keys_are_shown():
    store = get_store("memory://notebook-deep")
    store.put("/".join("d" * 500), "x")
    store.put("n" * 1024, "x")
    Reader(store._repr_html_())


def test_a_store_that_cannot_list_says_so():
    backend = Counting("notebook-unlisted", MemoryBackend.features & ~Feature.LIST)
    backend.scan = lambda *_: super(MemoryBackend, backend).scan()
    assert "Unsupported" in notebook.store_html(backend)


def test_an_error_in_mid_listing_keeps_what_came():
    class Broken(MemoryBackend):
        def scan(self, prefix="", after=None):
            yield Entry("a.txt", 1, None)
            raise OSError("the <b>cable</b> is cut")

    html = notebook.store_html(Broken("notebook-broken"))
    assert "a.txt" in html
    assert "OSError: the &lt;b&gt;cable" in html


def test_a_listing_is_an_iterator_that_can_be_shown():
    store = get_store("memory://notebook-listing")
    store.put_many({"a/1": "x", "a/2": "x", "b/3": "x"})
    entries = store.entries("a")
    assert next(entries).key == "a/1"
    shown = Reader(entries._repr_html_()).text
    assert ("a/1" in shown, "a/2" in shown, "b/3" in shown) == (True, True, False)
    assert [entry.key for entry in entries] == ["a/2"]
    assert list(entries) == []
    assert "memory://notebook-listing" in repr(entries)


def test_sizes_and_times_stay_on_one_line_beside_a_long_key():
    store = get_store("memory://notebook-long-key")
    store.put("x" * 300, "hello")
    html = store.entries()._repr_html_()
    lines = [cell.partition(">")[0] for cell in html.split("<td")[1:]]
    assert ["nowrap" in line for line in lines] == [False, True, True]


def test_a_listing_that_is_closed_lets_its_source_go():
    class Noting(MemoryBackend):
        closed = False

        def scan(self, prefix="", after=None):
            try:
                yield from super().scan()
            finally:
                self.closed = True

    backend = Noting("notebook-closed")
    backend.put(parse_key("a"), b"")
    backend.put(parse_key("b"), b"")
    entries = Store(backend).entries()
    next(entries)
    entries.close()
    del entries
    assert backend.closed


def test_an_entry_tells_what_is_known_only():
    shown = Reader(Entry("a<b", None, None, mimetype="text/plain")._repr_html_()).text
    assert "a<b" in shown
    assert "text/plain" in shown
    assert "modified" not in shown


def test_a_report_is_a_table_of_what_failed():
    facts = {"copied": 1234, "bytes": "5.0 MB", "seconds": 1.26, "<i>": None}
    shown = Reader(html_report("mirror of <b>", facts)).text
    for part in ("mirror of <b>", "complete", "1,234", "5.0 MB", "1.3", "<i>"):
        assert part in shown
    shown = Reader(html_report("mirror", {}, [(f"<i>{number}", "the server says 500") for number in range(150)])).text
    for part in ("150 failed", "<i>99", "and 50 more"):
        assert part in shown
    assert "complete" not in shown
    assert "<i>100" not in shown


@pytest.mark.parametrize("run", [crawl, mirror])
def test_reports_of_ours_show_themselves(run):
    source = get_store(f"memory://notebook-{run.__name__}")
    source.put_many({"a.txt": "x", "b.txt": "y"})
    shown = Reader(run(source, f"memory://notebook-{run.__name__}-target")._repr_html_()).text
    assert ("complete" in shown, source.uri in shown) == (True, True)


def test_a_view_shows_its_folder_only():
    store = get_store("memory://notebook-view")
    store.put_many({"team-a/x": "1", "team-b/y": "2"})
    shown = Reader(store.under("team-a")._repr_html_()).text
    assert ("x" in shown.split(), "team-b" in shown) == (True, False)
