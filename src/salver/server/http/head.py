"""A request's head: parsed by httptools once, and remembered by its bytes.

A client on a kept-alive connection sends the same head again and again. What a head means
depends on nothing but its bytes, so `HeadCache` answers with the object made the first
time. Knows which paths are inference routes; refuses to know anything about models. Seldon's
routes name no model: they are read only where those of V1 and V2 do not match.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import httptools

from salver.protocol.frame import ContentCoding
from salver.protocol.mlflow_messages import scoring_codec
from salver.protocol.operations import Operation, is_stream, marked
from salver.protocol.wire_codes import RAW_BODY_AUX, REGRESS_AUX, Codec

SELDON_SCOPE = "seldon:"
"""What begins a scope that is a path as Seldon has it: `NAMESPACE/NAME`, or a name alone."""
CHUNKED = -1
"""As `RequestHead.content_length`: the body comes in chunks."""

_INFER_ROUTE = re.compile(
    rb"(?:/serving/([^/?#]+/[^/?#]+)|/seldon/([^/?#]+(?:/[^/?#]+)?))?"
    rb"(?:/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?/infer"
    rb"|/v1/models/([^/?#]+?)(?:/versions/([^/?#:]+))?/?:(predict|explain))"
)
_SELDON_ROUTE = re.compile(
    rb"(?:/seldon/([^/?#]+(?:/[^/?#]+)?))?"
    rb"(?:/api/v(?:0\.1|1\.0)/(predictions|feedback)|/v1/models/?:(predict)|/v2/models/(infer))"
)
_COMPONENT_ROUTE = re.compile(
    rb"(?:/seldon/([^/?#]+/[^/?#]+)(?:/([^/?#]+))?)?"
    rb"/(predict|transform-input|transform-output|route|aggregate|send-feedback)"
)
_TFS_ROUTE = re.compile(
    rb"(?:/serving/([^/?#]+/[^/?#]+))?"
    rb"(?i:/v1/models/([^/:?#]+)(?:/versions/([^/?#:]+)|/labels/([^/?#:]+))?/?"
    rb":(predict|classify|regress))"
)
_SCORING_ROUTE = re.compile(
    rb"(?:/serving/([^/?#]+/[^/?#]+)|/seldon/([^/?#]+(?:/[^/?#]+)?)|/models/([^/?#]+))?/invocations"
)
_GENERATE_ROUTE = re.compile(
    rb"(?:/serving/([^/?#]+/[^/?#]+)|/seldon/([^/?#]+(?:/[^/?#]+)?))?"
    rb"/v2/models/([^/?#]+)(?:/versions/([^/?#]+))?/generate(?:_stream)?"
)
_ASKED_BITS = 0xFFFF
"""Of a tag: what the body is, without what the answer may be packed with."""
_TFS_AUX = {b"classify": 0, b"regress": REGRESS_AUX}
_THIS_SERVER = "host:"
"""A scope that is the server's own, for what is asked of it by more than a name."""
_METHODS = {
    b"predictions": "predict",
    b"feedback": "send_feedback",
}
"""What a component is asked to do, where it is not called as the path's last part is."""
_UNNAMED_HOST = re.compile(rb"(?:localhost|[0-9.]+|\[.*\])(?::[0-9]+)?")
"""Hosts that can be no service's: the loopback's name, and addresses."""
_CODINGS = {
    b"gzip": ContentCoding.GZIP,
    b"x-gzip": ContentCoding.GZIP,
    b"deflate": ContentCoding.DEFLATE,
}
_MAX_CACHED_HEAD_BYTES = 2048


class HttpError(Exception):
    """A request that is answered here and now, after which the connection closes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestHead:
    """What the gateway needs to know of a head; immutable once made.

    `model` is empty unless the request is an inference POST; then `codec` and `aux` say how
    the worker is to read the body. `is_plain` heads carry nothing that needs a second look.
    `scope` is the service that the path (`NAMESPACE/NAME`, or `seldon:NAMESPACE/NAME`) or the Host
    header (`host:...`) asks for, empty where neither does. `label` is what the path calls the
    version, where it gives none; the scope is then never empty. On a route that names no model,
    `codec` is set without it, and `unreadable` says why its body cannot be read, if so;
    `component` is then what Seldon's component is asked to do, if one is, and `node` the component
    within a graph. `generates` is the model that is asked in Triton's generate extension, in place
    of `model`.
    """

    __slots__ = (
        "accepts",
        "aux",
        "codec",
        "coding",
        "component",
        "content_length",
        "expects_continue",
        "generates",
        "headers",
        "is_explain",
        "is_form",
        "is_plain",
        "keeps_alive",
        "label",
        "method",
        "model",
        "node",
        "path",
        "query",
        "request_id",
        "scope",
        "tag",
        "target",
        "traceparent",
        "unreadable",
        "unsupported_coding",
        "version",
    )

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.method = b""
        self.target = b""
        self.path = b""
        self.query = b""
        self.content_length = 0
        self.keeps_alive = True
        self.expects_continue = False
        self.coding = ContentCoding.IDENTITY
        self.accepts = ContentCoding.IDENTITY
        self.unsupported_coding = b""
        self.request_id = b""
        self.traceparent = b""
        self.model = ""
        self.version = ""
        self.label = ""
        self.unreadable = ""
        self.codec = 0
        self.aux = 0
        self.tag = 0
        self.is_plain = False
        self.is_explain = False
        self.is_form = False
        self.scope = ""
        self.component = ""
        self.node = ""
        self.generates = ""

    @property
    def is_streamed(self) -> bool:
        """The responses are wanted one by one."""
        return is_stream(self.tag)


class HeadParser:
    """Feeds httptools a head and keeps what it calls back with."""

    def __init__(self) -> None:
        self.head = RequestHead()
        self._has_head = False
        self._http = httptools.HttpRequestParser(self)

    # The names of the next three methods are httptools'.
    def on_url(self, url: bytes) -> None:
        self.head.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        # Asked here, since the parser forgets it at the end of a request without a body.
        self.head.keeps_alive = self._http.should_keep_alive()

    def parse(self, raw: bytes) -> RequestHead:
        """The meaning of a whole head. Raises `HttpError`."""
        self._feed(raw)
        return self._finish()

    def _feed(self, data: bytes) -> None:
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError as error:
            raise HttpError(400, f"malformed HTTP request: {error}") from error

    def _finish(self) -> RequestHead:
        if not self._has_head:
            raise HttpError(400, "malformed HTTP request: the head has no end")
        head = self.head
        head.method = self._http.get_method()
        # HTTP/1.0 gets one request a connection: its keep-alive needs a header in every answer.
        head.keeps_alive &= self._http.get_http_version() != "1.0"
        path, _, query = head.target.partition(b"?")
        head.path, head.query = path, query
        for name, value in head.headers:
            reader = _HEADER_READERS.get(name)
            if reader is not None:
                reader(head, value)
        _read_route(head)
        head.tag = head.codec | int(head.coding) << 8 | int(head.accepts) << 16
        if head.generates and head.path.endswith(b"_stream"):
            # Events go out one by one, and so unpacked.
            head.tag = marked(head.tag & _ASKED_BITS, Operation.STREAM)
        if head.component == "send_feedback" and not head.node:
            head.tag = marked(head.tag, Operation.FEEDBACK)
        head.is_plain = bool(
            head.model
            and head.keeps_alive
            and head.content_length >= 0
            and not head.expects_continue
            and not head.request_id
            and not head.traceparent
            and not head.unsupported_coding
        )
        return head


class HeadCache:
    """Heads by their bytes; bounded, and emptied when full (a flood of new heads is cheap)."""

    def __init__(self, max_heads: int = 4096, *, marks: int = 0) -> None:
        """`marks` are bits of a tag that every head of these callers has."""
        self._max_heads = max_heads
        self.marks = marks
        self._heads: dict[bytes, RequestHead] = {}
        self.get = self._heads.get

    def put(self, raw: bytes, head: RequestHead) -> None:
        """Remembers the head unless it is large or one of a kind."""
        if len(raw) > _MAX_CACHED_HEAD_BYTES or head.traceparent or head.request_id:
            return
        if len(self._heads) >= self._max_heads:
            self._heads.clear()
        self._heads[raw] = head


def _read_route(head: RequestHead) -> None:
    if head.method != b"POST":
        if head.method == b"GET" and b"json=" in head.query:
            _read_component_route(head)
        return
    match = _INFER_ROUTE.fullmatch(head.path)
    if match is None:
        others = (_read_generate_route, _read_tfs_route, _read_seldon_route, _read_scoring_route)
        if not any(read(head) for read in others):
            _read_component_route(head)
        return
    scope, seldon, v2_model, v2_version, v1_model, v1_version, verb = match.groups()
    try:
        if v2_model is not None:
            head.codec = int(Codec.V2_JSON if not head.is_form else Codec.V2_FORM)
            head.model = unquote_to_bytes(v2_model).decode()
            head.version = unquote_to_bytes(v2_version or b"").decode()
        else:
            head.codec = int(Codec.V1_JSON)
            head.model = unquote_to_bytes(v1_model).decode()
            head.version = unquote_to_bytes(v1_version or b"").decode()
            head.is_explain = verb == b"explain"
        if scope is not None:
            head.scope = unquote_to_bytes(scope).decode()
        elif seldon is not None:
            head.scope = SELDON_SCOPE + unquote_to_bytes(seldon).decode()
    except UnicodeDecodeError as error:
        raise HttpError(400, "the path is not valid UTF-8: percent-encode it") from error


def _read_generate_route(head: RequestHead) -> bool:
    """Triton's generate extension: one response, or all as events."""
    match = _GENERATE_ROUTE.fullmatch(head.path)
    if match is None:
        return False
    scope, seldon, model, version = match.groups()
    head.codec = int(Codec.GENERATE_JSON)
    head.version = _decoded(version or b"")
    head.generates = _decoded(model)
    if scope is not None:
        head.scope = _decoded(scope)
    elif seldon is not None:
        head.scope = SELDON_SCOPE + _decoded(seldon)
    return True


def _read_tfs_route(head: RequestHead) -> bool:
    """TensorFlow Serving's routes, where they are no routes of V1: other verbs, and labels."""
    match = _TFS_ROUTE.fullmatch(head.path)
    if match is None:
        return False
    scope, model, version, label, verb = match.groups()
    verb = verb.lower()
    head.codec = int(Codec.V1_JSON if verb == b"predict" else Codec.TFS_EXAMPLES_JSON)
    head.aux = _TFS_AUX.get(verb, 0)
    head.model, head.version = _decoded(model), _decoded(version or b"")
    if scope is not None:
        head.scope = _decoded(scope)
    if label is not None:
        head.label = _decoded(label)
        head.scope = head.scope or _THIS_SERVER
    return True


def _read_seldon_route(head: RequestHead) -> bool:
    """Routes of a whole deployment: Seldon's own, and V1's and V2's without a model's name."""
    match = _SELDON_ROUTE.fullmatch(head.path)
    if match is None:
        return False
    scope, verb, v1, _ = match.groups()
    if verb is not None:
        head.codec = int(Codec.SELDON_JSON)
        head.component = _METHODS[verb]
    else:
        head.codec = int(Codec.V1_JSON if v1 is not None else Codec.V2_JSON)
    if scope is not None:
        head.scope = SELDON_SCOPE + _decoded(scope)
    return True


def _read_scoring_route(head: RequestHead) -> bool:
    """MLflow's route: of a path's service or model, of a host's, or of the only one there is."""
    match = _SCORING_ROUTE.fullmatch(head.path)
    if match is None:
        return False
    content_type = next((value for name, value in head.headers if name == b"content-type"), b"")
    codec, head.unreadable = scoring_codec(content_type)
    head.codec = int(codec)
    service, seldon, model = match.groups()
    if service is not None:
        head.scope = _decoded(service)
    elif seldon is not None or model is not None:
        head.scope = SELDON_SCOPE + _decoded(seldon or model)
    return True


def _read_component_route(head: RequestHead) -> None:
    """Routes of a single component: of the only one there is, or a graph's, by name."""
    match = _COMPONENT_ROUTE.fullmatch(head.path)
    if match is None:
        return
    scope, node, verb = match.groups()
    head.codec = int(Codec.SELDON_JSON)
    head.component = verb.decode().replace("-", "_")
    if scope is not None:
        head.scope = SELDON_SCOPE + _decoded(scope)
        head.node = _decoded(node or b"")


def _decoded(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise HttpError(400, "the path is not valid UTF-8: percent-encode it") from error


def _read_host(head: RequestHead, value: bytes) -> None:
    if not head.scope and not _UNNAMED_HOST.fullmatch(value):
        head.scope = "host:" + value.decode("latin-1").lower().partition(":")[0]


def _read_seldon_model(head: RequestHead, value: bytes) -> None:
    # Seldon's gateway has one host for all: the header says more than the host.
    name = value.strip().decode("latin-1")
    if name:
        head.scope = "model:" + name


def _read_content_length(head: RequestHead, value: bytes) -> None:
    # httptools has refused anything but digits, and two lengths that differ.
    if head.content_length != CHUNKED:
        head.content_length = int(value)


def _read_transfer_encoding(head: RequestHead, value: bytes) -> None:
    if value.strip().lower() != b"chunked":
        raise HttpError(501, f"transfer-encoding {value.decode('latin-1')!r} is not supported")
    head.content_length = CHUNKED


def _read_expect(head: RequestHead, value: bytes) -> None:
    if value.strip().lower() != b"100-continue":
        raise HttpError(417, f"expectation {value.decode('latin-1')!r} is not supported")
    head.expects_continue = True


def _read_json_length(head: RequestHead, value: bytes) -> None:
    if not value.strip().isdigit() or len(value) > 12:
        raise HttpError(
            400,
            f"Inference-Header-Content-Length is {value.decode('latin-1')!r}: "
            "send the length of the JSON part in bytes",
        )
    head.aux = int(value) or RAW_BODY_AUX


def _read_content_encoding(head: RequestHead, value: bytes) -> None:
    name = value.strip().lower()
    if name in _CODINGS:
        head.coding = _CODINGS[name]
    elif name not in (b"", b"identity"):
        head.unsupported_coding = name


def _read_accept_encoding(head: RequestHead, value: bytes) -> None:
    head.accepts = accepted_coding(value)


def accepted_coding(value: bytes) -> ContentCoding:
    """The coding for an answer, by an Accept-Encoding header (RFC 9110, 12.5.3)."""
    best = ContentCoding.IDENTITY
    for part in value.lower().split(b","):
        name, _, parameter = part.partition(b";")
        coding = _CODINGS.get(name.strip())
        if coding is None or parameter.replace(b" ", b"") in (b"q=0", b"q=0.0", b"q=0.00"):
            continue
        if coding is ContentCoding.GZIP:
            return coding
        best = coding
    return best


def _read_content_type(head: RequestHead, value: bytes) -> None:
    # The form's boundary is read from its first line.
    if value[:1] in b"mM":
        head.is_form = value[:19].lower() == b"multipart/form-data"


def _read_request_id(head: RequestHead, value: bytes) -> None:
    head.request_id = value[:200]


def _read_traceparent(head: RequestHead, value: bytes) -> None:
    head.traceparent = value


_HEADER_READERS = {
    b"host": _read_host,
    b"seldon-model": _read_seldon_model,
    b"content-length": _read_content_length,
    b"transfer-encoding": _read_transfer_encoding,
    b"expect": _read_expect,
    b"inference-header-content-length": _read_json_length,
    b"content-encoding": _read_content_encoding,
    b"content-type": _read_content_type,
    b"accept-encoding": _read_accept_encoding,
    b"x-request-id": _read_request_id,
    b"traceparent": _read_traceparent,
}
