"""A real web server on loopback that keeps what is posted to it: what a team's chat or pager would get."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Webhook:
    """Where it listens, as Apprise's URL, and the messages that came, in order."""

    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        """What the messages are headed with."""
        return [str(one["title"]) for one in self.messages]


@contextmanager
def a_webhook(status: int = 200) -> Iterator[Webhook]:
    """Listens until the block ends; answers every message with a status."""
    found: Webhook

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.messages.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Webhook(f"json://127.0.0.1:{server.server_port}/hook")
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
