"""A pod's address for a server that can listen on 127.0.0.1 only: what comes to the one is handed on to the other."""

import asyncio
import threading
from types import TracebackType

Address = tuple[str, int]


class Forwarding:
    """Hands connections on, byte by byte, while the block runs."""

    def __init__(self, routes: dict[Address, Address]) -> None:
        """`routes`: where connections come, and where they go. An address that nobody listens at is a closed one."""
        self._routes = routes
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarding", daemon=True)

    def __enter__(self) -> "Forwarding":
        self._thread.start()
        for source, target in self._routes.items():
            asyncio.run_coroutine_threadsafe(self._listen(source, target), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self, source: Address, target: Address) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there_reader, there_writer = await asyncio.open_connection(*target)
            except OSError:
                writer.close()
                return
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))

        self._servers.append(await asyncio.start_server(connected, *source))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
