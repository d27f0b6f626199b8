"""Something before a tracking server that answers in its place, or loses its answers."""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<html><body><h1>400 Bad Request</h1>the gateway does not like this</body></html>"


class Proxy:
    """Passes requests on to a server, unless told otherwise.

    Attributes:
        uri: Its address.
        judge: Says of a request, by method and path, what becomes of it: "page" (an answer of the proxy's own, status
            400), "cut" (the request arrives, and the connection breaks) or None (it is passed on).
        done: What became of requests that were not passed on.
    """

    def __init__(self, port: int) -> None:
        self.judge: Callable[[str, str], str | None] = lambda _method, _path: None
        self.done: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fault = proxy.judge(self.command, self.path)
                if fault is not None:
                    proxy.done.append((fault, self.path))
                if fault == "page":
                    self._answer(400, {"Content-Type": "text/html"}, PAGE)
                    return
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                server.request(self.command, self.path, body, {**headers, "Host": f"127.0.0.1:{port}"})
                answer = server.getresponse()
                content = answer.read()
                server.close()
                if fault == "cut":
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer(answer.status, dict(answer.getheaders()), content)

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response_only(status)
                for key, value in headers.items():
                    if key.lower() not in {"content-length", "transfer-encoding", "connection"}:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass_on  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # of connections that were cut
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
