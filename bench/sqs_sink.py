"""What speaks as SQS does and does nothing: `python -m bench.sqs_sink BYTES`, which prints its port.

It takes any message, gives out the same ten of that size for ever, and forgets what is deleted.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_numbers = itertools.count()


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
            messages = ",".join(self.body.replace("#", str(start + at)) for at in range(10))
            answer = f'{{"Messages":[{messages}]}}'.encode()
        else:
            ids = [{"Id": str(at), "MessageId": str(at)} for at in range(request.count(b'"Id"'))]
            answer = json.dumps({"Successful": ids}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def main(size_bytes: int) -> None:
    attribute = {"DataType": "Binary", "BinaryValue": base64.b64encode(os.urandom(size_bytes)).decode()}
    Handler.body = json.dumps(
        {
            "MessageId": "#",
            "ReceiptHandle": "#",
            "Body": "x",
            "Attributes": {"SentTimestamp": "1796000000000"},
            "MessageAttributes": {"catchment": attribute},
        }
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
