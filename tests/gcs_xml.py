"""Google's XML writes before fake-gcs-server, which knows only the JSON ones; the rest is passed on as it is."""

import contextlib
import http.client
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

from tests.object_servers import ObjectServer
from tests.servers import HOST


class XmlWrites(ThreadingHTTPServer):
    """A proxy that turns puts, copies and multipart uploads into JSON ones."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behind: ObjectServer) -> None:
        super().__init__((HOST, 0), _Answer)
        self.behind = behind
        self.url = f"http://{HOST}:{self.server_address[1]}"
        self.uploads: dict[str, dict[int, bytes]] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that leave early."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for the client's delayed acknowledgement
    server: XmlWrites

    def log_message(self, *_: object) -> None:
        pass

    def _pass(self) -> None:
        self._send(*self._ask(self.command, self.path, self._body()))

    do_GET = do_HEAD = do_DELETE = _pass  # noqa: N815 - names of http.server

    def do_PUT(self) -> None:
        bucket, name, query = self._target()
        body = self._body()
        if "uploadId" in query:
            parts = self.server.uploads[query["uploadId"]]
            parts[int(query["partNumber"])] = body
            self._send(200, {"ETag": f'"{len(parts)}"'}, b"")
        elif source := self.headers.get("x-goog-copy-source"):
            old_bucket, _, old = source.lstrip("/").partition("/")
            old = urllib.parse.quote(urllib.parse.unquote(old), safe="")
            new = urllib.parse.quote(name, safe="")
            status, _, data = self._ask(
                "POST", f"/storage/v1/b/{old_bucket}/o/{old}/rewriteTo/b/{bucket}/o/{new}", b"{}"
            )
            self._send(status, {}, data)
        else:
            self._store(bucket, name, body)

    def do_POST(self) -> None:
        bucket, name, query = self._target()
        body = self._body()
        if "uploads" in query:
            upload = uuid4().hex
            self.server.uploads[upload] = {}
            tags = f"<Bucket>{bucket}</Bucket><Key>x</Key><UploadId>{upload}</UploadId>"
            answer = f"<InitiateMultipartUploadResult>{tags}</InitiateMultipartUploadResult>"
            self._send(200, {}, answer.encode())
        elif "uploadId" in query:
            parts = self.server.uploads.pop(query["uploadId"])
            self._store(bucket, name, b"".join(parts[number] for number in sorted(parts)), multipart=True)
        else:
            self._send(*self._ask("POST", self.path, body))

    def _store(self, bucket: str, name: str, data: bytes, *, multipart: bool = False) -> None:
        query = {"uploadType": "multipart"}  # the server heeds conditions only in this kind of upload
        if wanted := self.headers.get("x-goog-if-generation-match"):
            query["ifGenerationMatch"] = wanted
        path = f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
        bound = uuid4().hex
        head = json.dumps({"name": name, "contentType": "application/octet-stream"})
        body = b"".join(
            [
                f"--{bound}\r\nContent-Type: application/json\r\n\r\n{head}\r\n".encode(),
                f"--{bound}\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
                data,
                f"\r\n--{bound}--\r\n".encode(),
            ]
        )
        status, _, answer = self._ask("POST", path, body, {"Content-Type": f"multipart/related; boundary={bound}"})
        if status != 200:
            self._send(status, {}, answer)
            return
        made = json.loads(answer)
        tag = made["etag"].strip('"')
        result = (
            f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>" if multipart else ""
        )
        self._send(200, {"ETag": f'"{tag}"', "x-goog-generation": str(made["generation"])}, result.encode())

    def _target(self) -> tuple[str, str, dict[str, str]]:
        parts = urllib.parse.urlsplit(self.path)
        bucket, _, name = urllib.parse.unquote(parts.path.lstrip("/")).partition("/")
        return bucket, name, dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        behind = http.client.HTTPConnection(HOST, self.server.behind.port, timeout=20)
        try:
            kept = {name: value for name, value in self.headers.items() if name.lower() in ("range", "if-match")}
            behind.request(method, path, body, {**kept, **(headers or {})})
            answer = behind.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            behind.close()

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        length = str(len(data))
        for name, value in headers.items():
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def xml_writes(behind: ObjectServer) -> Iterator[XmlWrites]:
    """Put an :class:`XmlWrites` before a running fake-gcs-server."""
    server = XmlWrites(behind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
