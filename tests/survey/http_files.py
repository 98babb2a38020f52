"""An HTTP server with files, on this machine, that misbehaves when asked to."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

__all__ = ["Answer", "FileServer", "serve"]


@dataclass(frozen=True)
class Answer:
    """What is done with one request, instead of what is right."""

    status: int = 200
    cut: int | None = None
    """Close the connection after so many bytes."""
    stall: int | None = None
    """Send no more after so many bytes, until the server ends."""
    ranges: bool = True
    """Whether parts are sent."""
    shift: int = 0
    """Send a part that begins so many bytes late."""
    body: bytes | None = None
    """Send this."""
    length: bool | str = True
    """Whether the length is told; or what is told."""
    drip: int | None = None
    """Send so many bytes, then one a time, for ever."""
    encoding: str = ""
    """Send the body, packed in this way already, with this Content-Encoding."""
    headers: dict = field(default_factory=dict)


class FileServer:
    """Files by path, what to do wrong for each (one `Answer` a request), and what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.posts: list = []
        self.requests: list[tuple[str, dict]] = []
        self.version = "v1"
        self.ended = threading.Event()
        self.url = ""

    def asked(self, path: str) -> list[dict]:
        """Headers of the requests for a path."""
        return [headers for name, headers in self.requests if name == path]

    def post(self, path: str, body: str) -> bytes:
        """Answer a POST request; the last function of `posts` that knows it wins."""
        for function in reversed(self.posts):
            answer = function(path, body)
            if answer is not None:
                return answer
        raise KeyError(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        store = self.server.store
        store.requests.append((self.path, dict(self.headers)))
        data = store.post(self.path, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        store = self.server.store
        path = unquote(self.path)
        store.requests.append((path, dict(self.headers)))
        waiting = store.answers.get(path, [])
        answer = waiting.pop(0) if waiting else Answer()
        if path not in store.files and answer.status == 200:
            answer = Answer(status=404)
        if answer.status != 200:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = store.files[path] if answer.body is None else answer.body
        start = 0
        asked = self.headers.get("Range")
        tag = f'"{store.version}"'
        if asked and answer.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").rstrip("-")) + answer.shift
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        if answer.encoding:
            self.send_header("Content-Encoding", answer.encoding)
        if answer.length:
            length = str(len(data) - start) if answer.length is True else answer.length
            self.send_header("Content-Length", length)
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        sent = data[start:]
        for limit in (answer.cut, answer.stall):
            sent = sent if limit is None else sent[:limit]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(sent if answer.drip is None else sent[: answer.drip])
            self.wfile.flush()
            while answer.drip is not None and not store.ended.wait(0.01):
                self.wfile.write(b"x")
                self.wfile.flush()
        if answer.stall is not None:
            store.ended.wait(30)
        self.close_connection = answer.cut is not None or answer.length is not True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that has left is no error of the server."""


@contextlib.contextmanager
def serve() -> Iterator[FileServer]:
    """Run a server inside a ``with`` block."""
    store = FileServer()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.store = store
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store
    finally:
        store.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
