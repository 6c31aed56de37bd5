"""TLS before a server that speaks none: what is spoilt on its way is then noticed, whatever the protocol inside."""

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.redis_servers import make_certificates
from tests.servers import HOST, child, free_port, nginx_program


@contextlib.contextmanager
def encrypted(behind: int) -> Iterator[tuple[int, Path]]:
    """Give the port where nginx takes TLS for the server at another port, and the file of the authority to trust."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tls-") as name:
        home = Path(name)
        _, trust = make_certificates(home)
        (home / "conf").write_text(f"""
            daemon off; master_process off; pid "{home / "pid"}"; error_log stderr;
            events {{ worker_connections 1024; }}
            stream {{
                server {{
                    listen {HOST}:{port} ssl; proxy_pass {HOST}:{behind};
                    ssl_certificate "{home / "cert.pem"}"; ssl_certificate_key "{home / "key.pem"}";
                }}
            }}
        """)

        def greets() -> None:
            with (
                socket.create_connection((HOST, port), timeout=5) as plain,
                trust.wrap_socket(plain, server_hostname=HOST),
            ):
                pass

        argv = [nginx_program(), "-p", name, "-c", str(home / "conf"), "-e", "stderr"]
        with child(argv, greets, log=home / "log"):
            yield port, home / "ca.pem"
