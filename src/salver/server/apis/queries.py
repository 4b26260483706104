"""What a request's query and headers ask for. Reads; does nothing about it."""

from __future__ import annotations

import base64

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request

from salver.control.resources import JsonObject
from salver.server.apis.operations import Caller
from salver.server.apis.ownership import manager_name
from salver.server.apis.selectors import Matches, matcher
from salver.server.apis.status import Refusal

_FORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")

Position = tuple[str, str]
"""Namespace and name of an object: where a list goes on."""


def matches_of(query: QueryParams) -> Matches | None:
    """The selectors, None if all is asked for. Raises `Refusal`."""
    return matcher(query.get("labelSelector", ""), query.get("fieldSelector", ""))


def caller_of(request: Request, options: JsonObject | None = None) -> Caller:
    """Who changes something, and whether only to try. Raises `Refusal`."""
    query = request.query_params
    dry_run = [*query.getlist("dryRun"), *((options or {}).get("dryRun") or ())]
    if any(each != "All" for each in dry_run):
        raise Refusal(400, f"dryRun: {dry_run}: the one value it takes is All")
    if query.get("fieldValidation", "") not in ("", "Ignore", "Warn", "Strict"):
        raise Refusal(400, "fieldValidation: it is one of Ignore, Warn and Strict")
    name = manager_name(query.get("fieldManager", ""), request.headers.get("user-agent", ""))
    return Caller(name, bool(dry_run))


def accepted_form(request: Request) -> str:
    """The `as=` of the first form in `Accept` that is known: Table, PartialObjectMetadata..."""
    for each in request.headers.get("accept", "").split(","):
        media, *parameters = [part.strip() for part in each.split(";")]
        named = dict(part.partition("=")[::2] for part in parameters)
        if media == "application/json" and named.get("as") in _FORMS:
            return str(named["as"])
        if media in ("application/json", "*/*", ""):
            return ""
    return ""


def is_true(query: QueryParams, name: str) -> bool:
    """Whether the parameter is given and set."""
    return query.get(name, "").lower() in ("1", "true")


def number(query: QueryParams, name: str, default: int) -> int:
    """The parameter's value. Raises `Refusal`."""
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise Refusal(400, f"{name}: '{text}' is no number of at least 0")
    return int(text[:12])


def page_token(version: int, after: Position) -> str:
    """What a client sends back as `continue`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([version, *after])).decode()


def read_page_token(text: str) -> tuple[int, Position]:
    """The version and position of a token; zero and the beginning if there is none."""
    if not text:
        return 0, ("", "")
    try:
        version, namespace, name = msgspec.json.decode(
            base64.urlsafe_b64decode(text), type=tuple[int, str, str]
        )
    except (ValueError, msgspec.MsgspecError) as error:
        raise Refusal(400, "continue: this token is not of this server: list again") from error
    return version, (namespace, name)
