"""What speaks as SQS does and does next to nothing: `python -m bench.sqs_sink [BYTES]`, which prints its port.

It takes any message, gives out the same ten of that size for ever, and forgets what is deleted. Without a size it
gives out what it was sent, each message once.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import sys
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_numbers = itertools.count()
_kept: deque[str] = deque()


class Handler(BaseHTTPRequestHandler):
    """One request of the JSON protocol, by the name in its header."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20
    body = ""

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        request = self.rfile.read(int(self.headers["Content-Length"]))
        if operation == "ReceiveMessage":
            start = next(_numbers) * 10
            messages = [self.body.replace("#", str(start + at)) for at in range(10)] if self.body else self.taken()
            answer = f'{{"Messages":[{",".join(messages)}]}}'.encode()
        elif operation == "GetQueueAttributes":
            answer = b'{"Attributes":{"ApproximateNumberOfMessages":"%d"}}' % len(_kept)
        else:
            if operation == "SendMessageBatch" and not self.body:
                self.keep(json.loads(request)["Entries"])
            ids = [{"Id": str(at), "MessageId": str(at)} for at in range(request.count(b'"Id"'))]
            answer = json.dumps({"Successful": ids}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def keep(self, entries: list[dict[str, Any]]) -> None:
        """As messages that are ready to be given out."""
        for entry in entries:
            number = str(next(_numbers))
            _kept.append(json.dumps(message(number, entry["MessageAttributes"]["catchment"]["BinaryValue"])))

    def taken(self) -> list[str]:
        """Up to ten that nobody has."""
        found: list[str] = []
        with contextlib.suppress(IndexError):
            while len(found) < 10:
                found.append(_kept.popleft())
        return found

    def log_message(self, *_: object) -> None:
        pass


def message(identity: str, encoded: str) -> dict[str, Any]:
    """As SQS gives it out; its attribute is in base64."""
    return {
        "MessageId": identity,
        "ReceiptHandle": identity,
        "Body": "x",
        "Attributes": {"SentTimestamp": "1796000000000"},
        "MessageAttributes": {"catchment": {"DataType": "Binary", "BinaryValue": encoded}},
    }


def main(size_bytes: int | None) -> None:
    if size_bytes is not None:
        Handler.body = json.dumps(message("#", base64.b64encode(os.urandom(size_bytes)).decode()))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
