"""An object store in memory that speaks as much of S3 as our artifacts need: for tests with several hosts, which must share one."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """The environment with which `s3://bucket/...` leads there."""
    kept: dict[str, bytes] = {}

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            kept[self.path] = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(200, b"", kept[self.path])

        def do_GET(self) -> None:
            found = kept.get(self.path)
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>") if found is None else self._answer(200, found, found)

        def do_POST(self) -> None:
            """Of several objects at once: the only way in which obstore deletes."""
            asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            keys = re.findall("<Key>(.*?)</Key>", asked)
            for key in keys:
                kept.pop(f"{self.path.partition('?')[0].rstrip('/')}/{key}", None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

        def _answer(self, status: int, body: bytes, of: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(of).hexdigest()[:32]}"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "of-no-store",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
