"""HTTP/1.1 requests out of a byte stream: sans-I/O, one request at a time.

The quick way: a whole request in one read, with a head seen before and a Content-Length. All
else (split, chunked, pipelined, new heads) takes the other branches to the same result.
"""

from __future__ import annotations

from salver.server.http.chunked import ChunkedBody
from salver.server.http.head import CHUNKED, HeadCache, HeadParser, HttpError, RequestHead

MAX_HEAD_BYTES = 64 << 10
_HEAD_END = b"\r\n\r\n"


class RequestReader:
    """Holds what one connection has sent and not yet been answered for.

    After `receive` or `resume` has returned a head, `body` is that request's body; further
    bytes are kept until `resume`.
    """

    __slots__ = ("_buffer", "_cache", "_chunks", "_head", "_max_body", "body")

    def __init__(self, cache: HeadCache, max_body_bytes: int) -> None:
        self._cache = cache
        self._max_body = max_body_bytes
        self._buffer = bytearray()
        self._head: RequestHead | None = None
        self._chunks: ChunkedBody | None = None
        self.body: bytes | bytearray = b""

    @property
    def buffered(self) -> int:
        """Bytes held that belong to no complete request yet."""
        return len(self._buffer)

    @property
    def is_amid_request(self) -> bool:
        """True if a request has begun and is not complete."""
        return bool(self._buffer) or self._head is not None

    @property
    def waiting_head(self) -> RequestHead | None:
        """The head whose body is still to come (it may expect `100 Continue`)."""
        return self._head

    def receive(self, data: bytes) -> RequestHead | None:
        """Takes what the socket gave; returns the head of the next whole request, if any.

        Raises `HttpError` for what is no HTTP or over a limit; the connection is then done.
        """
        if not self._buffer and self._head is None:
            end = data.find(_HEAD_END) + 4
            head = self._cache.get(data[:end]) if end > 3 else None
            if head is not None and head.content_length == len(data) - end:
                self.body = data[end:]
                return head
        self._buffer += data
        return self.resume()

    def hold(self, data: bytes) -> None:
        """Keeps bytes that arrive while a request is being answered."""
        self._buffer += data

    def resume(self) -> RequestHead | None:
        """Looks for the next whole request in what is held. Raises `HttpError`."""
        if self._head is None and not self._begin():
            return None
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        head = self._head
        assert head is not None
        length = head.content_length
        if len(self._buffer) < length:
            return None
        if len(self._buffer) == length:
            self.body, self._buffer = self._buffer, bytearray()
        else:
            self.body = bytes(self._buffer[:length])
            del self._buffer[:length]
        self._head = None
        return head

    def _begin(self) -> bool:
        """Reads the head of the next request from the buffer; False if it is not all there."""
        buffer = self._buffer
        while buffer.startswith((b"\r\n", b"\n")):
            # RFC 9112, 2.2: empty lines before a request are to be ignored.
            del buffer[: 2 if buffer.startswith(b"\r\n") else 1]
        end = buffer.find(_HEAD_END, 0, MAX_HEAD_BYTES) + 4
        if end == 3:
            if len(buffer) >= MAX_HEAD_BYTES:
                raise HttpError(431, f"the request's head is over {MAX_HEAD_BYTES} bytes")
            _refuse_if_not_http(buffer)
            return False
        raw = bytes(buffer[:end])
        del buffer[:end]
        head = self._cache.get(raw)
        if head is None:
            head = HeadParser().parse(raw)
            head.tag |= self._cache.marks
            if head.content_length == CHUNKED:
                self._chunks = ChunkedBody(self._max_body)
            else:
                self._cache.put(raw, head)
        if head.content_length > self._max_body:
            raise HttpError(413, self._too_large(str(head.content_length)))
        self._head = head
        return True

    def _read_chunks(self, chunks: ChunkedBody) -> RequestHead | None:
        if not chunks.take(self._buffer):
            return None
        head, self._head, self._chunks = self._head, None, None
        self.body = chunks.data
        return head

    def _too_large(self, length: str) -> str:
        return (
            f"the body has {length} bytes, the limit is {self._max_body}: "
            "send less or raise --max-body-size"
        )


def _refuse_if_not_http(buffer: bytearray) -> None:
    """Tells a client that speaks something else so at once, not after a time-out."""
    if buffer and not 0x41 <= buffer[0] <= 0x5A:
        raise HttpError(400, "malformed HTTP request: the first line must start with a method")
