"""Who may use the admin API: callers with the key, or without one, this machine's own programs.

A manifest can name a command to run, so whoever may write one can run anything. Without a key
only direct callers from a loopback address are let in, and no web page: a page in the user's
browser can reach a loopback port too, so requests with a foreign `Origin`, and names in `Host`
that a page's own server could give to 127.0.0.1, are refused. What else changes the server for all
its callers asks here too.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from salver.server.apis.status import Refusal
from salver.server.local_callers import is_local

_PROXIED = ("forwarded", "x-forwarded-for", "x-real-ip")
_ADMIN_API = "the admin API"
_REMEDY = "start the server with --admin-key and send it as 'Authorization: Bearer KEY'"


def authoriser(key: str) -> Callable[[Request], None]:
    """The API's `authorise`; an empty key means that there is none."""

    def authorise(request: Request) -> None:
        client = request.client.host if request.client is not None else ""
        reason = why_refused(client, request.headers, key)
        if reason:
            status = 401 if key else 403
            raise Refusal(status, reason)

    return authorise


def why_refused(client: str, headers: Mapping[str, str], key: str, what: str = _ADMIN_API) -> str:
    """Why a caller may not use `what`; empty if it may. `headers` by lower-case name. Pure."""
    if key:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode()):
            return ""
        return f"{what} needs its key: send 'Authorization: Bearer KEY'"
    reason = why_no_own_program(client, headers)
    return f"{what} is for this machine's own programs ({reason}): {_REMEDY}" if reason else ""


def why_no_own_program(client: str, headers: Mapping[str, str]) -> str:
    """Why a caller does not count as a program of this machine; empty if it does. Pure.

    `client` is its address. Whoever is behind a proxy does not count, nor does a page in a browser.
    """
    proxy = next((name for name in _PROXIED if name in headers), "")
    if proxy:
        return f"'{proxy}' says that the caller is behind a proxy"
    if not is_local(client):
        return f"not from {client}"
    host = headers.get("host", "")
    if not is_loopback(_hostname(host)):
        return f"it is asked for as '{host}', not as 127.0.0.1 or localhost"
    origin = headers.get("origin", "")
    if origin and urlsplit(origin).netloc != host:
        return f"not pages of {origin}"
    return ""


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, can only be this machine."""
    if host.lower() in ("localhost", ""):
        return host != ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(host: str) -> str:
    """The name or address in a Host header."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
