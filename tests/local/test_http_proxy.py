"""The proxy, on real connections, before services that behave well and badly."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from stackgraft.local.http_proxy import Backend, Proxy

Service = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def serve() -> Any:
    """Return a function that puts a proxy before a service, and gives its backend and a way to connect."""
    async with AsyncExitStack() as stack:

        async def start(service: Service) -> tuple[Backend, Callable[[], Awaitable[Any]]]:
            behind = await stack.enter_async_context(await asyncio.start_server(service, "127.0.0.1", 0))
            proxy, listener = Proxy(), socket.create_server(("127.0.0.1", 0))
            proxy.backend = Backend(behind.sockets[0].getsockname()[1])
            await stack.enter_async_context(await proxy.serve(listener))
            return proxy.backend, lambda: asyncio.open_connection(*listener.getsockname())

        yield start


class Recorder:
    """A service that keeps what it is asked, and answers."""

    def __init__(self) -> None:
        self.asked = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(OK)
        writer.close()


async def answer_to(connect: Callable[[], Awaitable[Any]], request: str) -> str:
    reader, writer = await connect()
    writer.write(request.replace("\n", "\r\n").encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return str(answer.decode())


async def settled(backend: Backend) -> bool:
    for _ in range(100):
        if not backend.in_flight:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_request_of_http_1_0_without_a_host_is_answered(serve: Any) -> None:
    service = Recorder()
    _, connect = await serve(service)
    answer = await answer_to(connect, "GET /a HTTP/1.0\n\n")
    assert answer.startswith("HTTP/1.1 200")
    assert answer.endswith("ok")
    assert "\r\nHost: 127.0.0.1:" in service.asked


async def test_a_host_is_passed_on_as_it_was_asked_for(serve: Any) -> None:
    service = Recorder()
    _, connect = await serve(service)
    await answer_to(connect, "GET /a HTTP/1.1\nHost: example.test\nConnection: close\n\n")
    assert service.asked.lower().count("\r\nhost: example.test\r\n") == 1
    assert "\r\nX-Forwarded-Host: example.test\r\n" in service.asked


async def test_an_offer_to_upgrade_to_http_2_is_passed_over(serve: Any) -> None:
    service = Recorder()
    _, connect = await serve(service)
    offer = "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\n"
    answer = await answer_to(
        connect, f"POST /a HTTP/1.1\nHost: x\n{offer}Content-Length: 3\n\nabcGET /b HTTP/1.1\nHost: x\nConnection: close\n\n"
    )
    assert answer.count("HTTP/1.1 200") == 2
    assert "pgrade" not in service.asked
    assert "ettings" not in service.asked


async def test_a_websocket_is_refused_and_the_answer_says_so(serve: Any) -> None:
    _, connect = await serve(Recorder())
    answer = await answer_to(connect, "GET /a HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: WebSocket\n\n")
    assert answer.startswith("HTTP/1.1 501")
    assert "WebSocket" in answer


async def reads_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_a_client_that_leaves_in_the_middle_of_an_upload_is_no_request_under_way(serve: Any) -> None:
    backend, connect = await serve(reads_to_the_end)
    _, writer = await connect()
    writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    await asyncio.sleep(0.2)
    assert backend.in_flight == 1
    writer.close()
    assert await settled(backend)


async def test_a_body_that_is_no_http_is_the_clients_fault(serve: Any) -> None:
    backend, connect = await serve(reads_to_the_end)
    answer = await answer_to(connect, "POST /upload HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nnot a chunk\n")
    assert answer.startswith("HTTP/1.1 400")
    assert await settled(backend)


async def refuses_large_bodies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsmall!")
    await writer.drain()
    writer.transport.abort()  # what it has not read resets the connection


async def test_an_early_answer_to_an_upload_is_the_answer(serve: Any) -> None:
    backend, connect = await serve(refuses_large_bodies)
    for _ in range(20):
        reader, writer = await connect()
        writer.write(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 2_000_000)
        answer = await asyncio.wait_for(reader.readuntil(b"small!"), 5)
        assert answer.startswith(b"HTTP/1.1 413")
        writer.close()
    assert await settled(backend)


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def test_a_service_that_breaks_off_before_it_answers_is_a_bad_gateway(serve: Any) -> None:
    backend, connect = await serve(breaks_off)
    assert (await answer_to(connect, "POST / HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc")).startswith("HTTP/1.1 502")
    assert await settled(backend)
