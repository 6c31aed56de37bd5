"""Web servers that list folders, beside nginx: as child processes on free loopback ports.

Apache, lighttpd and Caddy are Debian's. A server that cannot be started raises, so the run fails.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.servers import HOST, answers, child, find_program, free_port

_MODULES = "mpm_event authn_core authz_core dir mime autoindex"
_USER = "www-data"


@contextlib.contextmanager
def apache_listing(root: Path, *, options: str = "FancyIndexing NameWidth=*", extra: str = "") -> Iterator[str]:
    """Serve ``root`` by Apache; give its URL."""
    program = find_program("apache2", install="apt-get install apache2")
    port = free_port()
    modules = "".join(f"LoadModule {one}_module /usr/lib/apache2/modules/mod_{one}.so\n" for one in _MODULES.split())
    argv = [program]
    if os.geteuid() == 0:
        # Apache would change the user itself, and with that forget that it is to end with its parent.
        setpriv = find_program("setpriv", install="apt-get install util-linux")
        argv = [setpriv, "--reuid", _USER, "--regid", _USER, "--clear-groups", "--pdeathsig", "KILL", "--", program]
    with tempfile.TemporaryDirectory(prefix="apache-") as name:
        home = Path(name)
        (home / "conf").write_text(f"""{modules}
            ServerName {HOST}
            Listen {HOST}:{port}
            PidFile {home}/pid
            Mutex file:{home}
            ErrorLog {home}/errors
            TypesConfig /etc/mime.types
            DocumentRoot {root}
            DirectoryIndex disabled
            IndexOptions {options}
            IndexIgnore .
            <Directory {root}>
                Options Indexes FollowSymLinks
                Require all granted
            </Directory>
            {extra}
        """)
        if os.geteuid() == 0:
            for path in (home, *home.rglob("*")):
                shutil.chown(path, _USER, _USER)
        with child(
            [*argv, "-f", str(home / "conf"), "-X"], answers(port, "/", 200, method="OPTIONS"), log=home / "log"
        ):
            yield f"http://{HOST}:{port}/"


@contextlib.contextmanager
def lighttpd(root: Path) -> Iterator[str]:
    """Serve ``root`` by lighttpd; give its URL."""
    program = find_program("lighttpd", install="apt-get install lighttpd")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="lighttpd-") as name:
        home = Path(name)
        (home / "conf").write_text(f"""
            server.document-root = "{root}"
            server.bind = "{HOST}"
            server.port = {port}
            server.modules = ("mod_dirlisting")
            server.errorlog = "{home}/errors"
            dir-listing.activate = "enable"
            dir-listing.hide-dotfiles = "disable"
            server.stat-cache-engine = "disable"
            mimetype.assign = ("" => "application/octet-stream")
        """)
        with child(
            [program, "-D", "-f", str(home / "conf")], answers(port, "/", 200, method="OPTIONS"), log=home / "log"
        ):
            yield f"http://{HOST}:{port}/"


@contextlib.contextmanager
def caddy(root: Path) -> Iterator[str]:
    """Serve ``root`` by Caddy; give its URL."""
    program = find_program("caddy", install="apt-get install caddy")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="caddy-") as name:
        home = Path(name)
        (home / "conf").write_text(
            f"{{\n admin off\n auto_https off\n storage file_system {home}\n}}\n"
            f"http://{HOST}:{port} {{\n bind {HOST}\n root * {root}\n file_server browse\n}}\n"
        )
        argv = [program, "run", "--adapter", "caddyfile", "--config", str(home / "conf")]
        with child(argv, answers(port, "/", 200, method="OPTIONS"), log=home / "log"):
            yield f"http://{HOST}:{port}/"
