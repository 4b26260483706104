"""What a worker prints reaches the gateway, and no more of it than the gateway can bear."""

from __future__ import annotations

import asyncio
import os

from salver.backends.local.output_pipe import OutputPipe


def test_what_is_written_arrives_and_the_rest_at_the_end() -> None:
    async def scenario() -> None:
        heard: list[bytes] = []
        pipe = OutputPipe(asyncio.get_running_loop(), heard.append)
        worker = os.dup(pipe.write_fd)
        pipe.start()
        os.write(worker, b"first\n")
        while not heard:
            await asyncio.sleep(0)
        os.write(worker, b"last words")
        # The worker ends, but something that it has started holds the pipe open.
        pipe.finish()
        assert heard == [b"first\n", b"last words"]
        os.close(worker)
        pipe.finish()

    asyncio.run(scenario())


def test_output_beyond_the_rate_is_dropped_and_counted() -> None:
    async def scenario() -> None:
        heard: list[bytes] = []
        pipe = OutputPipe(asyncio.get_running_loop(), heard.append)
        worker = os.dup(pipe.write_fd)
        pipe.start()
        total = 0
        for _ in range(40):
            total += os.write(worker, b"x" * 60_000)
            for _ in range(3):
                await asyncio.sleep(0)
            if pipe.dropped_bytes:
                break
        os.close(worker)
        pipe.finish()
        kept = sum(len(piece) for piece in heard[:-1])
        assert kept <= (1 << 20) + 200_000
        assert heard[-1] == b"\nsalver: %d bytes of output dropped: too much\n" % (total - kept)

    asyncio.run(scenario())
