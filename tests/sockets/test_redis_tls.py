"""`rediss://`: a Redis behind TLS, which is a relay here, for the servers in wheels are built without it."""
from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bound import BOUND
from redises import RedisProcess, free_port, redis_server
from test_redis_broker import epochs, quick, run, talked, wrong  # noqa: F401 - a fixture

pytestmark = pytest.mark.skipif(not shutil.which('openssl'), reason='openssl makes the certificate')


@pytest.fixture(scope='module')
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "The certificate of a server named localhost; its key stands beside it."
    folder = tmp_path_factory.mktemp('tls')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '1',
                    '-keyout', folder/'key.pem', '-out', folder/'cert.pem'], check=True, capture_output=True)
    return folder/'cert.pem'


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    with redis_server(port=free_port()) as server: yield server


@pytest.fixture
def port(server: RedisProcess, certificate: Path) -> Iterator[int]:
    "Where the server speaks TLS."
    with behind_tls(str(server.path), certificate) as port: yield port


@contextmanager
def behind_tls(path: str, certificate: Path) -> Iterator[int]:
    "Take TLS off what comes at a port, and carry it to a Unix socket."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name('key.pem'))
    found, began, loop, stop = list[int](), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(path)
        await asyncio.gather(carry(reader, back), carry(there, writer))
    async def serve() -> None:
        relay = await asyncio.start_server(client, '127.0.0.1', 0, ssl=context)
        found.append(relay.sockets[0].getsockname()[1])
        began.set()
        await stop.wait()
        relay.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left: task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    def main() -> None:
        loop.run_until_complete(serve())
        loop.close()
    thread = threading.Thread(target=main)
    thread.start()
    try:
        assert began.wait(BOUND)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(BOUND)


def test_rooms_behind_tls(server: RedisProcess, port: int, certificate: Path, expect_log: Any) -> None:
    async def disturb() -> None:
        for _ in range(3):
            await asyncio.to_thread(server.says, b'CLIENT KILL TYPE pubsub\r\n')
            await asyncio.to_thread(server.says, b'CLIENT KILL TYPE normal\r\n')
            await asyncio.sleep(.1)
    expect_log('rooms: the Redis at rediss://localhost')
    assert epochs(run(talked(f'rediss://localhost:{port}?ssl_ca_certs={certificate}', disturb))) == 1


def test_a_certificate_that_is_not_trusted(port: int, certificate: Path) -> None:
    trusted = f'?ssl_ca_certs={certificate}'
    for place in f'localhost:{port}', f'127.0.0.1:{port}{trusted}': # Signed by nobody; another host's
        for scheme, path in (('rediss', ''), ('rediss+cluster', ''), ('rediss+sentinel', '/chat')):
            at, _, options = place.partition('?')
            told = wrong(f'{scheme}://{at}{path}{options and "?" + options}')
            assert 'has a certificate that is not trusted' in told and '?ssl_ca_certs=' in told
    missing = certificate.with_name('missing.pem')
    assert 'has a file in its address' in wrong(f'rediss://localhost:{port}?ssl_ca_certs={missing}')


def test_one_speaks_tls_and_the_other_one_does_not(server: RedisProcess, port: int, certificate: Path) -> None:
    told = wrong(f'rediss://localhost:{server.port}?ssl_ca_certs={certificate}')
    assert 'does not answer' in told and 'It has to speak TLS, as its address says' in told
    for address in f'redis://localhost:{port}', f'redis+sentinel://localhost:{port}/chat':
        assert 'One that speaks TLS is written rediss://' in wrong(address)
