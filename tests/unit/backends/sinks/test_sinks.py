"""Sinks of the payload log, with a real listener and real files."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from salver.backends.sinks.files import FileSink
from salver.backends.sinks.http import HttpSink
from salver.backends.sinks.json_lines import JsonLines
from salver.backends.sinks.ports import SinkPool, sink_for
from salver.engine.payload_log import REQUEST_TYPE, EventQueue, LogSubject, PayloadEvent
from salver.errors import StartupError
from salver.telemetry.registry import Registry


def event(number: int = 0, body: bytes = b'{"instances": [1.50]}', **more: object) -> PayloadEvent:
    fields: dict[str, object] = {"content_type": "application/json", **more}
    return PayloadEvent(
        f"id-{number}",
        REQUEST_TYPE,
        LogSubject("müller", "prod"),
        "2026-01-02T03:04:05Z",
        body=body,
        **fields,  # type: ignore[arg-type]
    )


class Receiver:
    """An HTTP listener that answers what it is told to and keeps what it was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.connections = 0
        self.posts: list[tuple[dict[str, str], bytes]] = []

    async def __aenter__(self) -> Receiver:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/events?a=b"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                assert head[0] == "POST /events?a=b HTTP/1.1"
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                status = self.statuses.pop(0) if self.statuses else 200
                if status == 200:
                    self.posts.append((headers, body))
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def test_events_are_posted_as_cloud_events_over_kept_connections() -> None:
    async def scenario() -> None:
        async with Receiver() as receiver:
            queue = EventQueue(Registry(), receiver.url)
            sink = HttpSink(receiver.url, queue)
            sink.start()
            for number in range(50):
                queue.put(event(number))
            await sink.close(5.0)
            assert (len(receiver.posts), queue.logged.value) == (50, 50)
            assert receiver.connections <= 5
            headers, body = receiver.posts[0]
            assert body == b'{"instances": [1.50]}'
            assert headers["ce-type"] == REQUEST_TYPE
            assert headers["ce-specversion"] == "1.0"
            assert headers["ce-inferenceservicename"] == "m%C3%BCller"
            assert headers["content-type"] == "application/json"

    asyncio.run(scenario())


def test_a_sink_that_fails_for_a_while_loses_nothing_and_one_that_refuses_is_counted() -> None:
    async def scenario() -> None:
        async with Receiver(503, 500) as receiver:
            queue = EventQueue(Registry(), receiver.url)
            sink = HttpSink(receiver.url, queue, first_backoff_s=0.01)
            sink.start()
            queue.put(event())
            await sink.close(5.0)
            assert (len(receiver.posts), queue.dropped("sink failed").value) == (1, 0)
        async with Receiver(400) as receiver:
            queue = EventQueue(Registry(), receiver.url)
            sink = HttpSink(receiver.url, queue, first_backoff_s=0.01)
            sink.start()
            queue.put(event())
            await sink.close(5.0)
            assert (len(receiver.posts), queue.dropped("sink failed").value) == (0, 1)

    asyncio.run(scenario())


def test_json_lines_are_cloud_events_in_json(tmp_path: Path) -> None:
    async def scenario() -> None:
        pool = SinkPool(Registry())
        queue = pool.queue_of(f"file://{tmp_path}/log/x.jsonl")
        assert pool.queue_of(f"file://{tmp_path}/log/x.jsonl") is queue
        queue.put(event(0))
        queue.put(event(1, gzip.compress(b'{"a":\n1}'), coding="gzip"))
        queue.put(event(2, b"\x00\xff", content_type="application/x-protobuf"))
        queue.put(event(3, b'{"a": NaN}'))
        queue.put(event(4, b"{broken"))
        await pool.close(5.0)
        assert queue.logged.value == 5

    asyncio.run(scenario())
    text = (tmp_path / "log" / "x.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["id"] for line in lines] == [f"id-{number}" for number in range(5)]
    assert "[1.50]" in text
    assert lines[1]["data"] == {"a": 1}
    assert lines[2]["data_base64"] == "AP8="
    assert lines[4]["data"] == "{broken"


def test_json_lines_rotate_by_size(tmp_path: Path) -> None:
    writer = JsonLines(tmp_path / "x.jsonl", max_file_bytes=1000)
    for number in range(10):
        writer.write([event(number)])
    writer.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    assert sum(len(file.read_text().splitlines()) for file in files) == 10
    assert max(file.stat().st_size for file in files) <= 1000


def test_parquet_segments_can_be_read_as_one_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from salver.backends.sinks.parquet import ParquetSegments

    writer = ParquetSegments(tmp_path / "x.parquet", max_rows=2)
    for number in range(5):
        writer.write([event(number)])
    assert len(list((tmp_path / "x.parquet").iterdir())) == 2
    assert writer.is_due(float("inf"))
    writer.close()
    table = parquet.read_table(tmp_path / "x.parquet")
    assert sorted(table["id"].to_pylist()) == [f"id-{number}" for number in range(5)]
    assert table["data"][0].as_py() == '{"instances": [1.50]}'


def test_a_disk_that_refuses_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def scenario() -> None:
        queue = EventQueue(Registry(), "s")
        sink = FileSink(JsonLines(tmp_path / "file" / "x.jsonl"), queue)
        sink.start()
        queue.put(event())
        await sink.close(5.0)
        assert queue.dropped("sink failed").value == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///x.csv", "kafka"])
def test_what_is_no_sink_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(StartupError, match=r"\.parquet"):
        sink_for(url, Registry())
