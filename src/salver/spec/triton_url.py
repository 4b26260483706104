"""Addresses of models that a Triton server has: `triton://HOST[:PORT]/MODEL[/VERSION]`.

Pure: imports no more than what the layout of files needs anyway.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import msgspec

from salver.errors import ArtifactError

TRITONSERVER = "tritonserver"
"""The runtime that has Triton itself run the model."""
DEFAULT_PORT = 8000
_SCHEMES = {"triton": "http", "tritons": "https"}
_FORM = "write triton://HOST:PORT/MODEL or triton://HOST:PORT/MODEL/VERSION"


class TritonUrl(msgspec.Struct, frozen=True):
    """A model of a Triton server, whose HTTP port is `port`. `version` empty: Triton chooses."""

    host: str
    port: int
    model: str
    version: str = ""
    is_tls: bool = False

    @property
    def base(self) -> str:
        """The server's address, as HTTP has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}"


def is_triton_url(text: str) -> bool:
    """Whether the text means a model of a Triton server, right or wrong."""
    return text.partition("://")[0].lower() in _SCHEMES and "://" in text


def parse_triton_url(text: str) -> TritonUrl:
    """The model that is meant. Raises `ArtifactError` that says how to write it."""
    try:
        parts = urlsplit(text)
        port = parts.port if parts.port is not None else DEFAULT_PORT
    except ValueError as error:
        raise ArtifactError(f"{text}: {error}; {_FORM}") from None
    words = [unquote(word) for word in parts.path.strip("/").split("/")]
    if parts.username is not None or parts.query or parts.fragment:
        raise ArtifactError(
            f"{parts.scheme}://{parts.hostname or ''}: it has more than {_FORM[6:]}"
        )
    if not parts.hostname or not words[0] or len(words) > 2 or not port:
        raise ArtifactError(f"{text}: it names no model of a Triton server; {_FORM}")
    version = words[1] if len(words) == 2 else ""
    if version and not re.fullmatch(r"[1-9][0-9]{0,17}", version):
        raise ArtifactError(f"{text}: '{version}' is no version: it is a number from 1 on; {_FORM}")
    return TritonUrl(parts.hostname, port, words[0], version, _SCHEMES[parts.scheme] == "https")
