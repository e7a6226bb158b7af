"""What several tests of data preparation need: a web server that can be made to fail."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Mirror:
    """A web server of these files that can break off, ignore ranges and keep lengths to itself."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = {f"/{name}": content for name, content in files.items()}
        self.break_after: int | None = None
        self.ranges = True
        self.lengths = True
        self.asked: list[tuple[str, str | None]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                mirror.asked.append((self.path, wanted))
                body = mirror.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                start = int(wanted[6:].split("-")[0]) if wanted and mirror.ranges else 0
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206 if wanted and mirror.ranges else 200)
                if mirror.lengths:
                    self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                end = None if mirror.break_after is None else start + mirror.break_after
                with suppress(ConnectionError):  # who has read enough hangs up
                    self.wfile.write(body[start:end])

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], Mirror]]:
    """Starts a `Mirror` of the given files; each is stopped after the test."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started: list[Mirror] = []

    def start(files: dict[str, bytes]) -> Mirror:
        started.append(Mirror(files))
        return started[-1]

    yield start
    for mirror in started:
        mirror.server.shutdown()
        mirror.server.server_close()
