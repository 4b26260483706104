"""The pages for people: the start page, the API documentation, and its OpenAPI document.

Self-contained: no page asks another host for anything. What comes from models is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver import __version__
from salver.engine.ports import ModelCatalog, ModelStatus
from salver.errors import RequestError
from salver.inference.metadata import ANY_DIMENSION, ModelMetadata, TensorMetadata
from salver.server.rest.answers import json_answer
from salver.server.rest.metadata import READY, model_names
from salver.server.rest.openapi import MOST_MODELS, loaded_models, openapi_document
from salver.server.rest.sample import curl_line
from salver.server.rest.services import (
    ListServices,
    no_services,
    service_row,
    service_summary,
    service_table,
)

_FOLDER = Path(__file__).parent / "html"
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MOST_TENSORS = 12
STANDBY = "standby"
"""The reason of a model that is loaded by its first request."""
_MOST_COLUMNS = 40


class PageRoutes:
    """`/`, `/docs` and `/openapi.json` over one catalog and the services declared."""

    def __init__(self, catalog: ModelCatalog, list_services: ListServices = no_services) -> None:
        self._catalog = catalog
        self._list_services = list_services

    def routes(self) -> list[Route]:
        """One route per path."""
        return [
            Route("/", self.start),
            Route("/docs", self.docs),
            Route("/openapi.json", self.openapi),
        ]

    async def start(self, request: Request) -> Response:
        """A page for browsers; for everything else `{"status": "alive"}`, as KServe has it."""
        headers = {"Vary": "Accept"}
        if "text/html" not in request.headers.get("accept", ""):
            return json_answer({"status": "alive"}, headers=headers)
        base_url = f"{request.url.scheme}://{request.url.netloc}"
        statuses = self._catalog.statuses()
        rows = [service_row(obj) for obj in self._list_services()]
        services = service_table(rows)
        shown = _foremost(statuses)
        cards = "".join(self._card(status, base_url) for status in shown)
        content = {
            "summary": _summary(self._catalog, statuses) + service_summary(rows),
            "services": services,
            "models": cards or ("" if services else _NO_MODELS),
            "note": _note(len(statuses) - MOST_MODELS),
        }
        return page("start.html", content, headers)

    async def docs(self, request: Request) -> Response:
        """The documentation, which the page renders from `/openapi.json` itself."""
        return page("docs.html", {}, {})

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document of the models loaded now."""
        statuses = self._catalog.statuses()
        models = loaded_models(model_names(statuses), self._catalog.find)
        return json_answer(openapi_document(models, statuses))

    def _card(self, status: ModelStatus, base_url: str) -> str:
        try:
            metadata = self._catalog.find(status.name, status.version).metadata
        except RequestError:
            return _card(status, None, base_url)
        return _card(status, metadata, base_url)


_NO_MODELS = (
    '<p class="empty">No models yet. Declare some: <code>salver apply -f service.yaml</code></p>'
)


def _foremost(statuses: Sequence[ModelStatus]) -> list[ModelStatus]:
    """So many as a page can show; those in use before those that stand by.

    A service hides the model of the command line that has its name.
    """
    statuses = list({(each.name, each.version): each for each in reversed(statuses)}.values())
    statuses.reverse()
    if len(statuses) <= MOST_MODELS:
        return statuses
    return sorted(statuses, key=lambda status: status.reason == STANDBY)[:MOST_MODELS]


def _note(left_out: int) -> str:
    if left_out <= 0:
        return ""
    return f'<p class="empty" id="cut">and {left_out:,} more models, which are not shown here</p>'


def page(name: str, content: dict[str, str], headers: dict[str, str]) -> Response:
    """A page of the folder, with these texts in its places."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    for key, value in {"style": style, "version": __version__, **content}.items():
        text = text.replace("{{" + key + "}}", value)
    return Response(text, headers=_SECURITY | headers, media_type="text/html")


def _summary(catalog: ModelCatalog, statuses: Sequence[ModelStatus]) -> str:
    if catalog.is_draining:
        return _pill("draining", "warn") + " the server is shutting down"
    names = model_names(statuses)
    ready = model_names(status for status in statuses if status.state == READY)
    models = f"{len(names):,} model{'' if len(names) == 1 else 's'}"
    if catalog.is_ready:
        return f"{_pill('ready', 'good')} {models}"
    return f"{_pill('not ready', 'bad')} {len(ready):,} of {models} ready"


def _card(status: ModelStatus, metadata: ModelMetadata | None, base_url: str) -> str:
    tone = {READY: "good", "UNAVAILABLE": "bad"}.get(status.state, "warn")
    version = f'<span class="version">version {escape(status.version)}</span>'
    head = (
        f"<header><h2>{escape(status.name)}</h2>{version if status.version else ''}"
        f"{_pill(status.state.lower(), tone)}"
    )
    if metadata is None:
        return _article(status, head + "</header>", _reason(status))
    framework = " ".join(filter(None, (metadata.platform, metadata.framework_version)))
    head += f'<span class="platform">{escape(framework)}</span></header>'
    body = _reason(status) + _signature(metadata)
    if status.state == READY:
        body += _curl(curl_line(status.name, metadata, base_url))
    return _article(status, head, body)


def _article(status: ModelStatus, head: str, body: str) -> str:
    return f'<article class="card" data-name="{escape(status.name)}">{head}{body}</article>'


def _reason(status: ModelStatus) -> str:
    if not status.reason:
        return ""
    tone = "reason quiet" if status.state == READY else "reason"
    return f'<p class="{tone}">{escape(status.reason)}</p>'


def _signature(metadata: ModelMetadata) -> str:
    rows = [("takes", _tensors(metadata.inputs)), ("gives", _tensors(metadata.outputs))]
    if metadata.column_names:
        names = metadata.column_names[:_MOST_COLUMNS]
        more = len(metadata.column_names) - len(names)
        shown = ", ".join(escape(name) for name in names) + (f", and {more} more" if more else "")
        rows.insert(1, ("columns", f'<span class="columns">{shown}</span>'))
    return "<dl>" + "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in rows) + "</dl>"


def _tensors(tensors: tuple[TensorMetadata, ...]) -> str:
    shown = "".join(_tensor(tensor) for tensor in tensors[:_MOST_TENSORS])
    more = len(tensors) - _MOST_TENSORS
    return shown + (f'<span class="tensor">and {more} more</span>' if more > 0 else "")


def _tensor(tensor: TensorMetadata) -> str:
    sizes = ["any" if size == ANY_DIMENSION else str(size) for size in tensor.shape]
    shape = "any shape" if tensor.any_shape else " &times; ".join(sizes) or "scalar"
    return (
        f'<span class="tensor"><b>{escape(tensor.name)}</b> '
        f"<i>{escape(tensor.datatype)}</i> {shape}</span>"
    )


def _curl(line: str) -> str:
    return (
        f'<div class="code"><pre><code>{escape(line)}</code></pre>'
        '<button class="copy" type="button">Copy</button></div>'
    )


def _pill(text: str, tone: str) -> str:
    return f'<span class="pill {tone}">{escape(text)}</span>'
