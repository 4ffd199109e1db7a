"""A reverse proxy for HTTP/1.1 on loopback that loses no request while the backend behind it changes.

It chooses the backend for each *request*, not for each connection: a client's keep-alive connection outlives a switch, and
a backend is stopped only once none of its requests is under way. It speaks HTTP by h11 and has no other policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import Any

import h11

_HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
_READ_SIZE = 1 << 16


@dataclass(slots=True)
class Backend:
    """A process that takes requests.

    Attributes:
        port: Where it listens on loopback.
        in_flight: How many requests it is answering now.
    """

    port: int
    in_flight: int = 0


class Proxy:
    """Passes requests on to the backend that is set when they arrive.

    Attributes:
        backend: Where new requests go; None answers 503.
    """

    def __init__(self) -> None:
        self.backend: Backend | None = None

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Start to accept connections on a listening socket."""
        return await asyncio.start_server(self._connected, sock=listener)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Peer(h11.Connection(h11.SERVER), reader, writer)
        try:
            while isinstance(request := await client.receive(), h11.Request):
                await self._answer(client, request)
                if client.http.our_state is not h11.DONE or client.http.their_state is not h11.DONE:
                    break
                client.http.start_next_cycle()
        except h11.RemoteProtocolError as malformed:
            await client.refuse(malformed.error_status_hint, str(malformed))
        except (ConnectionError, h11.LocalProtocolError):
            pass  # the client has gone, or the backend broke off after its answer had begun: closing is the answer
        finally:
            await client.close()

    async def _answer(self, client: _Peer, request: h11.Request) -> None:
        backend = self.backend
        if backend is None:
            await client.refuse(503, "no version of the service is healthy")
        elif any(name == b"upgrade" for name, _ in request.headers):
            await client.refuse(501, "this proxy does not pass on protocol upgrades such as WebSocket")
        else:
            backend.in_flight += 1  # before anything is awaited, so that a switch cannot miss the request
            try:
                await self._passed_on(client, request, backend)
            finally:
                backend.in_flight -= 1

    async def _passed_on(self, client: _Peer, request: h11.Request, backend: Backend) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        except OSError as unreachable:
            await client.refuse(502, f"the service does not take connections: {unreachable.strerror}")
            return
        server = _Peer(h11.Connection(h11.CLIENT), reader, writer)
        try:
            await server.send(_forwarded(request, client))
            upload = asyncio.create_task(_copy_body(client, server))
            try:
                await _copy_response(server, client)
            finally:
                upload.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError, h11.ProtocolError):
                    await upload
        except (h11.RemoteProtocolError, ConnectionError) as broken:
            await client.refuse(502, f"the service broke off: {broken}")
        finally:
            await server.close()


class _Peer:
    """One side of an exchange: an HTTP state machine over a connection."""

    def __init__(self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http, self.reader, self.writer = http, reader, writer

    async def receive(self) -> Any:
        """Return the next event."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(_READ_SIZE))
        return event

    async def send(self, event: Any) -> None:
        """Send an event, at the pace that the other end reads."""
        if data := self.http.send(event):
            self.writer.write(data)
            await self.writer.drain()

    async def refuse(self, status: int, why: str) -> None:
        """Answer an error in plain text, unless an answer has begun, and close."""
        if self.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = f"{why}\n".encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
        with contextlib.suppress(ConnectionError):
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                await self.send(event)

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def _forwarded(request: h11.Request, client: _Peer) -> h11.Request:
    address = client.writer.get_extra_info("peername")[0]
    host = dict(request.headers).get(b"host", b"")
    kept = [(name, value) for name, value in request.headers if name not in _HOP_BY_HOP]
    ours = [(b"X-Forwarded-For", address.encode()), (b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Host", host), (b"Connection", b"close")]
    return h11.Request(method=request.method, target=request.target, headers=[*kept, *ours])


async def _copy_body(client: _Peer, server: _Peer) -> None:
    event: Any = None
    while not isinstance(event, h11.EndOfMessage):
        event = await client.receive()
        await server.send(event)


async def _copy_response(server: _Peer, client: _Peer) -> None:
    event: Any = None
    while not isinstance(event, h11.EndOfMessage):
        event = await server.receive()
        if isinstance(event, h11.Response):
            headers = [(name, value) for name, value in event.headers if name not in {*_HOP_BY_HOP, b"transfer-encoding"}]
            event = h11.Response(status_code=event.status_code, reason=event.reason, headers=headers)
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the connection closed before the answer ended")
        await client.send(event)
