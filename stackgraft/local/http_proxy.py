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

_HOP_BY_HOP = {b"connection", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
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
        client = _Client(reader, writer)
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

    async def _answer(self, client: _Client, request: h11.Request) -> None:
        backend = self.backend
        if backend is None:
            await client.refuse(503, "no version of the service is healthy")
        elif any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.headers):
            await client.refuse(501, "this proxy does not pass on WebSocket connections")  # other upgrades are offers, to be passed over
        else:
            backend.in_flight += 1  # before anything is awaited, so that a switch cannot miss the request
            try:
                await self._passed_on(client, request, backend)
            finally:
                backend.in_flight -= 1

    async def _passed_on(self, client: _Client, request: h11.Request, backend: Backend) -> None:
        try:
            server = await _Server.connected(backend.port)
        except OSError as unreachable:
            await client.refuse(502, f"the service does not take connections: {unreachable.strerror}")
            return
        try:
            await server.send(_forwarded(request, client))
            await _exchanged(client, server)
        except (h11.RemoteProtocolError, ConnectionError) as broken:
            if client.http.their_state is h11.ERROR:
                raise  # not the service's fault
            await client.refuse(502, f"the service broke off: {broken}")
        finally:
            server.close()


class _Client:
    """The side that asks: an HTTP state machine over a connection that was accepted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http, self.reader, self.writer = h11.Connection(h11.SERVER), reader, writer

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


class _Server:
    """The side that answers, over a plain socket.

    A stream gives up what it has received once a write fails; a service may answer, and close, before it has read all.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.http, self.connection, self.loop = h11.Connection(h11.CLIENT), connection, asyncio.get_running_loop()

    @classmethod
    async def connected(cls, port: int) -> _Server:
        """Connect to a port on loopback."""
        server = cls(socket.socket())
        server.connection.setblocking(False)
        try:
            await server.loop.sock_connect(server.connection, ("127.0.0.1", port))
        except BaseException:
            server.close()
            raise
        return server

    async def receive(self) -> Any:
        """Return the next event."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.loop.sock_recv(self.connection, _READ_SIZE))
        return event

    async def send(self, event: Any) -> None:
        """Send an event, at the pace that the other end reads."""
        if data := self.http.send(event):
            await self.loop.sock_sendall(self.connection, data)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _forwarded(request: h11.Request, client: _Client) -> h11.Request:
    (address, *_), (host, port, *_) = (client.writer.get_extra_info(name) for name in ("peername", "sockname"))
    kept = [(name, value) for name, value in request.headers if name not in _HOP_BY_HOP]
    asked = dict(kept).get(b"host")
    ours = [
        (b"X-Forwarded-For", address.encode()),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", asked or b""),
        (b"Connection", b"close"),
    ]
    if asked is None:
        ours.append((b"Host", f"{host}:{port}".encode()))  # HTTP/1.0 does without, the HTTP/1.1 that is spoken here does not
    return h11.Request(method=request.method, target=request.target, headers=[*kept, *ours])


async def _exchanged(client: _Client, server: _Server) -> None:
    """Copy the body one way and the answer the other; the answer's end ends both, and so does a client that leaves."""
    copying = [asyncio.create_task(copy) for copy in (_copy_body(client, server), _copy_response(server, client))]
    upload, answer = copying
    try:
        await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            await upload
        await answer
    finally:
        for task in copying:
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)


async def _copy_body(client: _Client, server: _Server) -> None:
    event: Any = None
    while not isinstance(event, h11.EndOfMessage):
        event = await client.receive()
        try:
            await server.send(event)
        except ConnectionError:
            return  # the service reads no further: its answer says why, or breaks off as well


async def _copy_response(server: _Server, client: _Client) -> None:
    event: Any = None
    while not isinstance(event, h11.EndOfMessage):
        event = await server.receive()
        if isinstance(event, h11.Response):
            headers = [(name, value) for name, value in event.headers if name not in {*_HOP_BY_HOP, b"transfer-encoding"}]
            event = h11.Response(status_code=event.status_code, reason=event.reason, headers=headers)
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the connection closed before the answer ended")
        await client.send(event)
