"""URIs of models, taken apart: which kind of source, where, what within.

Pure. Owns the rules for schemes and for what of a URI may be shown. Refuses I/O.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from salver.errors import StorageError

_SCHEME = re.compile(r"(?:models|runs|mlflow-artifacts)(?=:/)|[a-zA-Z][a-zA-Z0-9+.-]*(?=://)")
_AZURE_HOST = re.compile(
    r"(?P<account>[a-z0-9]+)(?:\.z\d+)?\.(?P<service>blob|file|dfs)\.core\.windows\.net\Z"
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")
_GIT = re.compile(r"(?P<url>.+?\.git)(?:@(?P<revision>[^/#]+))?(?:/(?P<folder>.*))?\Z")
_KINDS = {
    "file": "local",
    "http": "http",
    "https": "http",
    "s3": "s3",
    "gs": "gs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "wasbs": "azure",
    "wasb": "azure",
    "azure": "azure",
    "hf": "hf",
    "pvc": "pvc",
    "oci": "oci",
    "oci+native": "oci",
    "oci+fetch": "oci",
    "hdfs": "webhdfs",
    "webhdfs": "webhdfs",
    "swebhdfs": "webhdfs",
    "models": "mlflow",
    "runs": "mlflow",
    "mlflow-artifacts": "mlflow",
    "git": "git",
    "git+file": "git",
    "git+http": "git",
    "git+https": "git",
    "git+ssh": "git",
}
KNOWN = "a path, file, http(s), s3, gs, az/abfs(s), hf, pvc, oci, hdfs/webhdfs, git or models/runs"


class Location(msgspec.Struct, frozen=True):
    """A URI in parts. `kind` names the source; `place` is its bucket, container, host,
    repository or claim; `path` is what lies within, without a leading slash.

    `extra` is an Azure account, or a revision of hf and git; `sha256` comes from the fragment.
    """

    kind: str
    uri: str
    place: str
    path: str
    extra: str = ""
    sha256: str = ""


def shown(uri: str) -> str:
    """The URI without what may be secret: user and password, query."""
    bare, hash_sign, fragment = uri.partition("#")
    return _USERINFO.sub("", bare.partition("?")[0]) + hash_sign + fragment


def scheme_of(uri: str) -> str:
    """The scheme in lower case; empty for a path."""
    found = _SCHEME.match(uri)
    return found[0].lower() if found else ""


def parse_location(uri: str) -> Location:
    """Takes a URI apart. Raises `StorageError` for a scheme or form that is not known."""
    bare, sha256 = _without_checksum(uri)
    scheme = scheme_of(bare)
    if not bare:
        raise StorageError("storage URI: it is empty; name where the model is")
    if not scheme:
        return Location("local", uri, "", bare, sha256=sha256)
    kind = _KINDS.get(scheme)
    if kind is None:
        raise StorageError(f"{shown(uri)}: scheme '{scheme}' is not known; use {KNOWN}")
    found = _take_apart(kind, scheme, bare)
    return msgspec.structs.replace(found, uri=uri, sha256=sha256)


def _without_checksum(uri: str) -> tuple[str, str]:
    bare, _, fragment = uri.partition("#")
    if not fragment:
        return bare, ""
    wanted = parse_qs(fragment)
    sha256 = wanted.pop("sha256", [""])[0].lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise StorageError(f"{shown(uri)}: sha256 must be 64 hexadecimal digits")
    if set(wanted) - {"subdirectory"} or not (sha256 or wanted):
        raise StorageError(
            f"{shown(uri)}: '#{fragment}' is not understood; '#sha256=...' is what may follow"
        )
    subdirectory = wanted.get("subdirectory", [""])[0]
    return (f"{bare}/{subdirectory}" if subdirectory else bare), sha256


def _take_apart(kind: str, scheme: str, uri: str) -> Location:
    parts = urlsplit(uri)
    if kind == "http":
        return _http(uri)
    if kind == "git":
        return _git(uri)
    if kind == "mlflow":
        return Location(kind, uri, scheme, uri.partition(":/")[2].strip("/"))
    if kind == "azure":
        return _azure(uri)
    if kind == "oci":
        return Location(kind, uri, parts.netloc, parts.path.strip("/"))
    if kind == "local":
        if parts.netloc not in ("", "localhost"):
            raise StorageError(
                f"{shown(uri)}: a file URI names no host; write file:///{parts.netloc}{parts.path}"
            )
        return Location(kind, uri, "", unquote(uri[len("file://") + len(parts.netloc) :]))
    if not parts.netloc:
        raise StorageError(f"{shown(uri)}: nothing is named after {scheme}://")
    if kind == "hf":
        return _hugging_face(uri)
    place, _, path = uri.partition("://")[2].partition("/")
    return Location(kind, uri, place, path.strip("/"))


def _http(uri: str) -> Location:
    parts = urlsplit(uri)
    if not parts.hostname:
        raise StorageError(f"{shown(uri)}: no host is named")
    azure = _AZURE_HOST.match(parts.hostname)
    if azure and not parts.query:
        container, _, path = unquote(parts.path).lstrip("/").partition("/")
        kind = "azure-file" if azure["service"] == "file" else "azure"
        if not container:
            raise StorageError(f"{shown(uri)}: no container is named; add it after the host")
        return Location(kind, uri, container, path.strip("/"), azure["account"])
    if ".git@" in parts.path or parts.path.endswith(".git") or ".git/" in parts.path:
        return _git(uri)
    return Location("http", uri, parts.netloc, parts.path)


def _git(uri: str) -> Location:
    scheme = scheme_of(uri)
    plain = uri[len("git+") :] if scheme.startswith("git+") else uri
    found = _GIT.match(plain)
    if found is None:
        raise StorageError(
            f"{shown(uri)}: a git repository's URI has '.git' in it, then '@REVISION' and "
            "'/FOLDER' if wanted"
        )
    revision = found["revision"] or ""
    if revision.startswith("-") or (found["folder"] or "").startswith("-"):
        raise StorageError(f"{shown(uri)}: a revision does not begin with '-'")
    return Location("git", uri, found["url"], (found["folder"] or "").strip("/"), revision)


def _azure(uri: str) -> Location:
    """`abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/path`, `az://CONTAINER/path`."""
    netloc, _, path = uri.partition("://")[2].partition("/")
    container, at, host = netloc.partition("@")
    account = host.partition(".")[0] if at else ""
    if not container:
        raise StorageError(f"{shown(uri)}: no container is named")
    return Location("azure", uri, container, path.strip("/"), account)


def _hugging_face(uri: str) -> Location:
    rest = uri.partition("://")[2].strip("/")
    words = rest.split("/")
    if len(words) < 2:
        raise StorageError(
            f"{shown(uri)}: write hf://ORGANISATION/MODEL or hf://ORG/MODEL:REVISION"
        )
    name, _, revision = words[1].replace("@", ":").partition(":")
    return Location("hf", uri, f"{words[0]}/{name}", "/".join(words[2:]), revision)
