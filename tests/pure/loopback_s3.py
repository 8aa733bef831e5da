"""An S3 store on the loopback (moto), and a proxy before it that counts what travels and fails on demand.

Fixtures `store` and `front` are for test modules to import.
"""

import http.client
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tracer import stores
from tracer.places import Place

KEY, SECRET = "AKIALOOPBACK", "loopbackSECRET"
BUCKET = "traces"
_HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date"}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
_FOREIGN = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3")

# How a request is answered instead: a status, silence, or a body that ends early. None: as the store does.
SILENT, SHORT = -1, -2
Fate = Callable[[str, str], int | None]


@pytest.fixture(scope="session")
def _moto() -> Iterator[tuple[str, int]]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        address = server.get_host_and_port()
        with closing(http.client.HTTPConnection(*address)) as to:
            to.request("PUT", f"/{BUCKET}")
            assert to.getresponse().status == 200
        yield address
    finally:
        server.stop()


@pytest.fixture
def store(_moto: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> str:
    """The store's endpoint, named in the environment as credentials are; `s3://traces` is a bucket there."""
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    endpoint = f"http://{_moto[0]}:{_moto[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    return endpoint


@dataclass
class Front:
    """The proxy.

    Attributes:
        endpoint: where it listens.
        fate: of each request, by its method and path; may be set by a test.
        asked: method and path of each request, in order.
        sent_bytes: of bodies, so far.
    """

    store: tuple[str, int]
    endpoint: str = ""
    fate: Fate = lambda _method, _path: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent_bytes: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        """Count from here."""
        self.asked.clear()
        self.sent_bytes = 0


@pytest.fixture
def front(store: str, _moto: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A proxy before the store, which the environment names instead of it; it is asked twice at most."""
    monkeypatch.setattr(stores, "ATTEMPTS", 2)
    with running(Front(_moto)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@contextmanager
def running(front: Front) -> Iterator[Front]:
    """The proxy, listening."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(front))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    front.endpoint = "http://{}:{}".format(*server.server_address[:2])
    try:
        yield front
    finally:
        front.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self) -> None:
            front.asked.append((self.command, self.path))
            body = self._body()
            fate = front.fate(self.command, self.path)
            if fate == SILENT:
                front.over.wait(20)
                self.close_connection = True
            elif fate is not None and fate > 0:
                self._send(fate, {"Content-Type": "application/xml"}, _error(fate))
            else:
                self._pass_on(body, short=fate == SHORT)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _pass_on(self, body: bytes, *, short: bool) -> None:
            with closing(http.client.HTTPConnection(*front.store)) as to:
                headers = {n: v for n, v in self.headers.items() if n.lower() not in {*_HOP, "expect"}}
                to.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
                response = to.getresponse()
                content = response.read()
                headers = {n: v for n, v in response.getheaders() if n.lower() not in _HOP}
            self._send(response.status, headers, content, short=short)

        def _send(self, status: int, headers: dict[str, str], body: bytes, *, short: bool = False) -> None:
            if self.command != "HEAD":
                headers["Content-Length"] = str(len(body))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                told = body[: len(body) // 2] if short else body
                self.wfile.write(told)
                front.sent_bytes += len(told)
            self.close_connection = self.close_connection or short

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    return Handler


def _error(status: int) -> bytes:
    """As S3 says it, with what must not be passed on."""
    code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}.get(status, "Other")
    return f"<Error><Code>{code}</Code><Message>of {KEY} {SECRET}</Message></Error>".encode()


def put_folder(folder: Path, to: Place) -> Place:
    """Copy a folder into the store."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        (to / path.relative_to(folder).as_posix()).put(path)
    return to


def data_requests(front: Front) -> list[str]:
    """Paths of the objects whose rows were asked for."""
    return [path for method, path in front.asked if method == "GET" and re.search(r"\.parquet$", path)]
