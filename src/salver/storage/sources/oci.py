"""Models in a container registry: modelcars (images with a `/models` folder), ORAS artifacts.

Owns the registry's protocol: tokens, manifests, layers. Refuses to run anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from salver.errors import StorageError
from salver.storage.credentials import Credentials
from salver.storage.download import Download
from salver.storage.ports import Body, Checksum, Entry, Listing
from salver.storage.sources.files import FileRules
from salver.storage.sources.oci_layers import Layer, assembled
from salver.storage.transfer import Transfer
from salver.storage.uris import Location
from salver.storage.web import Answer, WebClient, basic

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_MOST_LAYERS = 1000


class Reference(msgspec.Struct, frozen=True):
    """`REGISTRY/REPOSITORY[:TAG][@DIGEST]`."""

    registry: str
    repository: str
    version: str


class OciSource:
    """One artifact of a registry."""

    def __init__(
        self, location: Location, client: WebClient, credentials: Credentials, rules: FileRules
    ) -> None:
        self._reference = parse_reference(location)
        self._client = client
        self._login = _login(credentials, self._reference.registry)
        self._rules = rules
        self._token = ""
        self._layers: tuple[Layer, ...] = ()

    def listing(self, transfer: Transfer) -> Listing:
        """The layers of the manifest that the tag names now."""
        digest, manifest = self._manifest(self._reference.version, transfer)
        if "manifests" in manifest:
            digest, manifest = self._manifest(_for_this_machine(manifest, transfer), transfer)
        try:
            self._layers = tuple(
                Layer(
                    each["digest"],
                    each.get("mediaType", ""),
                    int(each["size"]),
                    each.get("annotations") or {},
                )
                for each in manifest["layers"][:_MOST_LAYERS]
            )
            # One layer may come twice, an empty one often does.
            entries = {layer.digest: _entry(layer, transfer.uri) for layer in self._layers}
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"{transfer.uri}: its manifest has no layers; push it again"
            ) from error
        return Listing(tuple(entries.values()), digest)

    def collect(self, listing: Listing, work: Path, transfer: Transfer) -> Path:
        """Downloads the layers and puts the model together from them."""
        folder = Download(self, work, self._rules.limits.max_bytes, transfer).run(
            listing, self._rules.parallel
        )
        return assembled(self._layers, folder, work, self._rules.limits, transfer)

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """A blob from the offset on. It is what its digest says, so it cannot change."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._ask(f"blobs/{entry.handle}", headers, transfer) as answer:
            start = offset if answer.status == 206 else 0
            yield Body(start, answer.chunks(transfer.uri, transfer))

    def _manifest(self, version: str, transfer: Transfer) -> tuple[str, dict[str, Any]]:
        with self._ask(f"manifests/{version}", _ACCEPT, transfer) as answer:
            text = answer.read_all(transfer.uri, transfer)
        digest = hashlib.sha256(text).hexdigest()
        if version.startswith("sha256:") and version != f"sha256:{digest}":
            raise StorageError(
                f"{transfer.uri}: the manifest is {digest}, not {version}; the registry is damaged"
            )
        try:
            found = json.loads(text)
            return digest, dict(found)
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{transfer.uri}: {self._reference.registry} does not answer as a registry does; "
                "check the host"
            ) from error

    @contextmanager
    def _ask(self, what: str, headers: Mapping[str, str], transfer: Transfer) -> Iterator[Answer]:
        """A GET in the repository; gets a token and asks again if the registry wants one."""
        url = f"{_base(self._reference.registry)}/v2/{self._reference.repository}/{what}"
        secrets = {"Authorization": self._token} if self._token else {}
        accept = (200, 206, 401)
        with self._client.get(
            url, transfer, headers=headers, secrets=secrets, accept=accept
        ) as answer:
            if answer.status != 401:
                yield answer
                return
            challenge = answer.header("WWW-Authenticate")
        self._token = self._authorization(challenge, transfer)
        with self._client.get(
            url,
            transfer,
            headers=headers,
            secrets={"Authorization": self._token},
            accept=(200, 206),
        ) as answer:
            yield answer

    def _authorization(self, challenge: str, transfer: Transfer) -> str:
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            if not self._login:
                raise StorageError(
                    f"{transfer.uri}: {self._reference.registry} wants a login; add it as an image "
                    "pull secret or with 'docker login'"
                )
            return self._login
        fields = dict(_CHALLENGE.findall(rest))
        realm = fields.get("realm", "")
        if kind.lower() != "bearer" or urlsplit(realm).scheme not in ("http", "https"):
            raise StorageError(
                f"{transfer.uri}: {self._reference.registry} asks for '{kind}' authorization, "
                "which is not known; use a registry with basic or bearer"
            )
        if _base(self._reference.registry).startswith("https:") and realm.startswith("http:"):
            raise StorageError(f"{transfer.uri}: its token server is not encrypted; refused")
        scope = fields.get("scope") or f"repository:{self._reference.repository}:pull"
        query = urlencode({"service": fields.get("service", ""), "scope": scope})
        secrets = {"Authorization": self._login} if self._login else {}
        with self._client.get(f"{realm}?{query}", transfer, secrets=secrets) as answer:
            found = json.loads(answer.read_all(transfer.uri, transfer))
        return f"Bearer {found.get('token') or found.get('access_token') or ''}"


def parse_reference(location: Location) -> Reference:
    """Takes the registry's name of an artifact apart. Raises `StorageError`."""
    path, _, digest = location.path.partition("@")
    folder, _, name = path.rpartition("/")
    name, _, tag = name.partition(":")
    repository = f"{folder}/{name}".strip("/")
    if digest and not _DIGEST.match(digest):
        raise StorageError(f"{location.uri}: a digest is sha256: and 64 hexadecimal digits")
    if not location.place or not repository:
        raise StorageError(f"{location.uri}: write oci://REGISTRY/REPOSITORY:TAG")
    return Reference(location.place, repository, digest or tag or "latest")


def _base(registry: str) -> str:
    """Registries on this machine are asked without encryption, as Docker does."""
    host = registry.rpartition(":")[0] or registry
    is_local = host in ("localhost", "[::1]") or host.startswith("127.")
    names = {"docker.io": "registry-1.docker.io"}
    return f"{'http' if is_local else 'https'}://{names.get(registry, registry)}"


def _entry(layer: Layer, uri: str) -> Entry:
    found = _DIGEST.match(layer.digest)
    if found is None:
        raise StorageError(
            f"{uri}: layer '{layer.digest[:80]}' has no SHA-256 digest; push it again"
        )
    checksum = Checksum("sha256", found[1])
    return Entry(found[1], layer.size_bytes, layer.digest, layer.digest, checksum)


def _for_this_machine(index: Mapping[str, Any], transfer: Transfer) -> str:
    """The manifest of an index for Linux on this processor; else the first of all."""
    wanted = _MACHINES.get(platform.machine(), platform.machine())
    manifests = [each for each in index["manifests"] if isinstance(each, dict)]
    for each in manifests:
        place = each.get("platform") or {}
        if place.get("os") == "linux" and place.get("architecture") == wanted:
            return str(each["digest"])
    if not manifests:
        raise StorageError(f"{transfer.uri}: its index lists no manifest; push it again")
    return str(manifests[0].get("digest", ""))


def _login(credentials: Credentials, registry: str) -> str:
    """The Authorization that a Docker configuration has for the registry."""
    try:
        config = json.loads(credentials.get("docker_config", "{}"))
        logins = config.get("auths") or {}
    except (ValueError, AttributeError):
        return ""
    for name, login in logins.items():
        host = name.partition("://")[2] or name
        if host.partition("/")[0] != registry or not isinstance(login, dict):
            continue
        if login.get("auth"):
            user, _, password = base64.b64decode(login["auth"]).decode().partition(":")
            return basic(user, password)
        return basic(str(login.get("username", "")), str(login.get("password", "")))
    return ""
