"""A proxy that cuts connections at the worst moment: runs on the host, between a producer and the broker.

Each connection lives for a second or so. Then what the client sends still gets through, what the broker answers does
not, and both sides are closed. Prints a line for each cut. Arguments: the port to listen on, and the broker's.
"""

from __future__ import annotations

import asyncio
import random
import sys

HERE, THERE = map(int, sys.argv[1:])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event | None) -> None:
    """Pass on what comes in, or throw it away once it is to be lost."""
    while data := await reader.read(65536):
        if lost is None or not lost.is_set():
            writer.write(data)
            await writer.drain()


async def serve(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
    """Be a connection to the broker for a while."""
    broker, requests = await asyncio.open_connection("127.0.0.1", THERE)
    lost = asyncio.Event()
    copies = [asyncio.create_task(copy(client, requests, None)), asyncio.create_task(copy(broker, answers, lost))]
    await asyncio.wait(copies, timeout=random.uniform(0.5, 2), return_when=asyncio.FIRST_COMPLETED)  # noqa: S311
    lost.set()
    await asyncio.wait(copies, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
    for task in copies:
        task.cancel()
    for writer in (answers, requests):
        writer.close()
    print("cut", flush=True)


async def main() -> None:
    """Serve until the input ends."""
    await asyncio.start_server(serve, "127.0.0.1", HERE)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
