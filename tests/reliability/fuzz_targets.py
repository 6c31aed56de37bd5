"""What is fuzzed: each target takes any bytes, and only our own errors come out of it.

A target has words that its inputs are made of, and whole inputs to begin with.
"""

import contextlib
import importlib
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson

from anystore import Store, cli, get_store
from anystore.backends import open_backend
from anystore.backends.local import LocalBackend
from anystore.backends.memory import _SPACES, MemoryBackend
from anystore.backends.zip import ZipBackend
from anystore.backends.zip.remote import RemoteZipBackend
from anystore.crawling import documents
from anystore.crawling.index import Index
from anystore.crawling.journal import Journal, Run
from anystore.errors import AnystoreError
from anystore.keys import Key, Selection, join_key, parse_key, parse_prefix, private_key
from anystore.settings import read_default_settings, read_settings, setting_sources
from anystore.uris import parse_uri
from anystore.web.listing import is_cut_off, parse_listing
from anystore.web.robots import parse_robots
from tests.reliability.fuzz_corpora import (
    COMMAND_WORDS,
    COMMANDS,
    JOURNAL_WORDS,
    JOURNALS,
    KEY_WORDS,
    KEYS,
    LISTING_WORDS,
    PAGES,
    SCHEMES,
    SETTINGS,
    SETTINGS_WORDS,
    URI_WORDS,
    ZIP_WORDS,
)

_MOST_VALUE = 4 << 20


class Promise(AssertionError):
    """Something else than an error of ours came out, or what came out was not right."""


@dataclass(frozen=True)
class Target:
    """One thing that is fuzzed.

    Attributes:
        run: Takes an input, and raises for one that breaks a promise.
        words: What inputs are made of.
        corpus: Inputs to begin with.
    """

    run: Callable[[bytes], None]
    words: list[bytes]
    corpus: list[bytes] = field(default_factory=list)


def _text(data: bytes) -> str:
    """Make a text of any bytes, lone surrogates included."""
    return data.decode("utf-8", "surrogateescape")


def _parts(data: bytes, count: int) -> list[bytes]:
    """Cut an input at its separators into so many parts."""
    parts = data.split(b"\xff\x00", count - 1)
    return parts + [b""] * (count - len(parts))


def _joined(*parts: bytes) -> bytes:
    return b"\xff\x00".join(parts)


def _is_chosen(data: bytes) -> bool:
    """Choose one input of eight, always the same ones, for what takes long."""
    return not zlib.crc32(data) % 8


# -- keys --------------------------------------------------------------------------


def _keys(folder: Path) -> Callable[[bytes], None]:
    backends = [LocalBackend(str(folder / "store")), MemoryBackend(uuid4().hex)]

    def run(data: bytes) -> None:
        texts = list(map(_text, _parts(data, 3)))
        with contextlib.suppress(AnystoreError):
            parse_prefix(texts[1])
        with contextlib.suppress(AnystoreError):
            join_key(parse_prefix(texts[1]), parse_key(texts[0]))
        with contextlib.suppress(AnystoreError):
            Selection(None, texts[1], texts[2]).covers(texts[0])
        for backend in backends if _is_chosen(data) else backends[1:]:
            with contextlib.suppress(AnystoreError):
                _there_and_back(backend, parse_key(texts[0]))

    return run


def _there_and_back(backend, key: Key) -> None:
    backend.put(key, b"value")
    if backend.get(key) != b"value" or list(backend.keys()) != [key]:
        raise Promise(f"{key!r} does not come back: {list(backend.keys())}")
    backend.delete(key)


# -- URIs --------------------------------------------------------------------------


def _uris(data: bytes) -> None:
    text, options = _parts(data, 2)
    uri = _text(text)
    with contextlib.suppress(AnystoreError):
        parsed = parse_uri(uri)
        repr(parsed)
        parse_uri(parsed.masked)
    config = {}
    with contextlib.suppress(ValueError):
        config = orjson.loads(options)
    with contextlib.suppress(AnystoreError):
        backend = open_backend(uri, config if isinstance(config, dict) else {})
        repr(backend)
        backend.locate(Key("a"))
        Store(backend)
        backend.close()


# -- settings ----------------------------------------------------------------------


def _settings(folder: Path) -> Callable[[bytes], None]:
    files = {True: folder / "store.json", False: folder / "store.yaml"}

    def run(data: bytes) -> None:
        content, *variables = data.split(b"\xff\x00")
        environ = dict(zip(map(_text, variables[::2]), map(_text, variables[1::2]), strict=False))
        environ.pop("ANYSTORE_FILE", None)
        file = files[_is_chosen(data)]
        file.write_bytes(content)
        for environment in (environ, environ | {"ANYSTORE_FILE": str(file)}):
            _read(environment)

    return run


def _read(environ: Mapping[str, str]) -> None:
    with contextlib.suppress(AnystoreError):
        read_settings(environ)
    with contextlib.suppress(AnystoreError):
        setting_sources(environ)
    with contextlib.suppress(AnystoreError):
        settings = read_default_settings(environ)
        Store(
            MemoryBackend("settings"), serialization_mode=settings.serialization_mode, default_ttl=settings.default_ttl
        )


# -- listings ----------------------------------------------------------------------

_URL = "https://host:8080/f%20g/?a=b"


def _listings(data: bytes) -> None:
    kind, body = _parts(data, 2)
    content_type = kind.decode("latin-1")
    for follow_links in (False, True):
        parse_listing(body, url=_URL, content_type=content_type, follow_links=follow_links)
    is_cut_off(body, {"content-type": content_type})
    robots = parse_robots(body)
    robots.allows("/f/a?b")
    _ = robots.crawl_delay


# -- zip archives ------------------------------------------------------------------


def _zips(folder: Path) -> Callable[[bytes], None]:
    file = folder / "a.zip"

    def run(data: bytes) -> None:
        for path in folder.iterdir():
            path.unlink()
        archive, journal = _parts(data, 2)
        file.write_bytes(archive)
        if journal:
            Path(f"{file}-journal").write_bytes(journal)
        _read_archive(RemoteZipBackend(LocalBackend(str(folder)), parse_key("a.zip")))
        backend = ZipBackend(str(file))
        _read_archive(backend)
        for change in (
            lambda: backend.put(parse_key("new"), b"1"),
            lambda: backend.take(parse_key("a")),
            lambda: backend.delete_many(list(backend.keys())),
            lambda: backend.put(parse_key("new"), b"2"),
        ):
            with contextlib.suppress(AnystoreError):
                change()

    return run


def _read_archive(backend) -> None:
    with contextlib.suppress(AnystoreError):
        for entry in list(backend.scan()):
            with contextlib.suppress(AnystoreError):
                total = 0
                for piece in backend.read(Key(entry.key)):
                    total += len(piece)
                    if total > _MOST_VALUE:
                        break
                else:
                    backend.get(Key(entry.key))
                    b"".join(backend.read(Key(entry.key), 2, 5))


def _archives() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.comment = b"comment"
            for name in ("a", "folder/", "folder/b", "\u00fc"):
                archive.writestr(name, b"" if name.endswith("/") else b"value " * 20)
        made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a", "w", force_zip64=True) as entry:
        entry.write(b"large")
    return [*made, file.getvalue()]


# -- journals of crawls ------------------------------------------------------------


def _journals(data: bytes) -> None:
    head, layout, one, two = _parts(data, 4)
    name = uuid4().hex
    backend = MemoryBackend(name)
    values = {"crawl/journal.json": head, "crawl/shards.json": layout}
    values |= {"crawl/00000001-aa.jsonl": one, "crawl/00000002-bb.jsonl": two}
    try:
        for key, value in values.items():
            if value:
                backend.put(private_key(key), value)
        store = Store(backend)
        with contextlib.suppress(AnystoreError):
            for document in documents(store):
                document.to_dict()
        with contextlib.suppress(AnystoreError):
            _crawl_on(backend)
        with contextlib.suppress(AnystoreError):
            Journal(backend).delete()
    finally:
        _SPACES.pop(name, None)


def _crawl_on(backend: MemoryBackend) -> None:
    journal = Journal(backend)
    with Index() as index:
        journal.load(index)
        now = datetime(2024, 1, 1, tzinfo=UTC)
        journal.begin("https://host/", now)
        run = Run(
            number=journal.last_run + 1,
            source="https://host/",
            target="memory://x",
            started=now,
            ended=now,
            complete=True,
            walked=True,
            root=index.root(),
        )
        journal.end(run, index)


# -- the command line --------------------------------------------------------------

_OUTSIDE = re.compile(r"(?:^|[^\w.])/|\.\.|~|^-[^=]*/|:/(?<!^memory:/)|\$")


def _commands(folder: Path) -> Callable[[bytes], None]:
    os.chdir(folder)
    for number in range(3):
        get_store(folder / "anystore-data").put(f"a/{number}", "1")

    def run(data: bytes) -> None:
        arguments = [_text(part) for part in data.split(b"\0")][:12]
        # An input must not reach what is not the test's own.
        if any(_OUTSIDE.search(argument) for argument in arguments):
            return
        shown, said = _Bytes(), io.StringIO()
        with (
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(said),
            _replaced(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"y\n"))),
        ):
            code = cli.run(arguments)
        if code not in (0, 1, 2) or "Traceback" in said.getvalue() or "fault of anystore" in said.getvalue():
            raise Promise(f"{arguments!r} ended with {code}: {said.getvalue()[-500:]}")

    return run


class _Bytes(io.TextIOWrapper):
    """Standard output as bytes in memory."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8", "surrogateescape")


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


# -- all of them -------------------------------------------------------------------


def make_target(name: str, folder: Path) -> Target:
    """Make one of the targets, which may use a folder of its own."""
    match name:
        case "keys":
            return Target(_keys(folder), KEY_WORDS, [_joined(*parts) for parts in KEYS])
        case "uris":
            corpus = [scheme + rest for scheme in SCHEMES for rest in (b"host/a", b"u:p@h:1/a/b.zip?x=1", b"")]
            return Target(_uris, [*SCHEMES, *URI_WORDS], corpus)
        case "settings":
            return Target(_settings(folder), SETTINGS_WORDS, [_joined(*parts) for parts in SETTINGS])
        case "envelopes":
            # of its own, since it loads all libraries of tables
            return Target(*importlib.import_module("tests.reliability.fuzz_envelopes").make())
        case "listings":
            return Target(_listings, LISTING_WORDS, [_joined(*page) for page in PAGES])
        case "zip archives":
            return Target(_zips(folder), ZIP_WORDS, _archives())
        case "journals":
            return Target(_journals, JOURNAL_WORDS, [_joined(*parts) for parts in JOURNALS])
        case "command line":
            return Target(_commands(folder), COMMAND_WORDS, [text.encode() for text in COMMANDS])
    raise ValueError(name)
