"""How much anybody may send."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catchment.serve.web.headers import HEADERS

MAX_BODY_BYTES = 4_000_000
"""The longest text of a dashboard, each character written as six."""


class _TooLarge(Exception):
    """More than that has come."""


class BodyLimit:
    """ASGI middleware: answers 413 to more, whatever its headers say of it, and reads no further. What is sent to the
    path `streamed` is for that page to bound, which never holds it in memory."""

    def __init__(self, app: ASGIApp, streamed: str) -> None:
        self._app = app
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == self._streamed:
            await self._app(scope, receive, send)
            return
        got, has_begun = 0, False

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > MAX_BODY_BYTES:
                raise _TooLarge
            return message

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, counted, sending)
        except _TooLarge:
            if not has_begun:
                await _refuse(send)


async def _refuse(send: Send) -> None:
    body = b'{"error": "at most %d bytes"}' % MAX_BODY_BYTES
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    headers += [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
