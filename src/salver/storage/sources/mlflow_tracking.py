"""MLflow's tracking servers and stores: from a model's reference to where its files are.

Three of a kind, `artifact_uri` each: a server over REST, a SQLite database, a folder (`mlruns`).
What they answer may be such a reference again, which is for the caller to follow.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from salver.errors import StorageError
from salver.spec.yaml_source import first_value
from salver.storage.mlflow_references import Reference
from salver.storage.transfer import Transfer
from salver.storage.uris import scheme_of, shown

_READ_S = 10.0
_MOST_BYTES = 1 << 20
"""Of a file in MLflow's folder; they have a few lines."""

Get = Callable[[str, Transfer], bytes]
"""Fetches the JSON at a URL of the tracking server."""


class Tracking(Protocol):
    """Knows where models are."""

    def artifact_uri(self, reference: Reference, transfer: Transfer) -> str:
        """The URI of the model's files. Raises `StorageError` if there is no such model."""


def tracking_at(uri: str, get: Get) -> Tracking:
    """The store at a tracking URI. Raises `StorageError` for one of another kind."""
    scheme = scheme_of(uri)
    if scheme in ("http", "https"):
        return RestTracking(uri.rstrip("/"), get)
    if scheme == "sqlite":
        return DatabaseTracking(Path(uri.removeprefix("sqlite:///")))
    if scheme == "file":
        return FolderTracking(Path(unquote(urlsplit(uri).path)))
    if not scheme and uri and not uri.startswith("databricks"):
        return FolderTracking(Path(uri))
    raise StorageError(
        f"MLFLOW_TRACKING_URI '{shown(uri)}' is not known: give http(s)://, sqlite:/// or a folder"
    )


class RestTracking:
    """A tracking server."""

    def __init__(self, base: str, get: Get) -> None:
        self._base = f"{base}/api/2.0/mlflow"
        self._get = get

    def artifact_uri(self, reference: Reference, transfer: Transfer) -> str:
        """See `Tracking`."""
        try:
            return self._find(reference, transfer)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise _no_tracking(transfer.uri) from error

    def _find(self, reference: Reference, transfer: Transfer) -> str:
        if reference.model_id:
            return str(self._model(reference.model_id, transfer)["artifact_uri"])
        if reference.run_id:
            return self._of_run(reference, transfer)
        version = reference.version
        if reference.alias:
            found = self._ask(
                "registered-models/alias", transfer, name=reference.name, alias=reference.alias
            )
            version = str(found["model_version"]["version"])
        elif not version.isdigit():
            found = self._ask("registered-models/get", transfer, name=reference.name)
            latest = found["registered_model"].get("latest_versions", [])
            known = [(each["current_stage"], str(each["version"])) for each in latest]
            version = version_at(known, version, transfer)
        found = self._ask(
            "model-versions/get-download-uri", transfer, name=reference.name, version=version
        )
        return str(found["artifact_uri"])

    def _of_run(self, reference: Reference, transfer: Transfer) -> str:
        run = self._ask("runs/get", transfer, run_id=reference.run_id)["run"]
        for output in (run.get("outputs") or {}).get("model_outputs", []):
            # Since MLflow 3, a run's models lie beside it and have names.
            model = self._model(str(output["model_id"]), transfer)
            if model.get("name") == reference.path:
                return str(model["artifact_uri"])
        return f"{run['info']['artifact_uri'].rstrip('/')}/{reference.path}"

    def _model(self, model_id: str, transfer: Transfer) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(f"logged-models/{quote(model_id)}", transfer)
        return dict(found["model"]["info"])

    def _ask(self, what: str, transfer: Transfer, **query: str) -> Any:
        url = f"{self._base}/{what}" + (f"?{urlencode(query)}" if query else "")
        return json.loads(self._get(url, transfer))


def _no_tracking(uri: str) -> StorageError:
    return StorageError(
        f"{uri}: the tracking server does not answer as MLflow's does; check MLFLOW_TRACKING_URI"
    )


def version_at(known: list[tuple[str, str]], wanted: str, transfer: Transfer) -> str:
    """The newest version at a stage, or of all for `latest`. Raises `StorageError`."""
    fitting = [v for stage, v in known if wanted == "latest" or stage.lower() == wanted.lower()]
    if not fitting:
        raise StorageError(f"{transfer.uri}: no version is at '{wanted}'; name one by its number")
    return max(fitting, key=lambda version: int(version) if version.isdecimal() else -1)


class DatabaseTracking:
    """The SQLite database of a tracking server, read in place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def artifact_uri(self, reference: Reference, transfer: Transfer) -> str:
        """See `Tracking`."""
        address = f"file:{quote(str(self._path.absolute()))}?mode=ro"
        try:
            connecting = sqlite3.connect(address, uri=True, timeout=_READ_S)
            with closing(connecting) as database:
                return self._find(database, reference, transfer)
        except sqlite3.Error as error:
            raise StorageError(
                f"{transfer.uri}: {self._path} cannot be read as MLflow's database ({error}); "
                "check MLFLOW_TRACKING_URI"
            ) from error

    def _find(self, database: sqlite3.Connection, reference: Reference, transfer: Transfer) -> str:
        if reference.model_id:
            sql = "SELECT artifact_location FROM logged_models WHERE model_id = ?"
            return _only(database, sql, (reference.model_id,), transfer)
        if reference.run_id:
            return self._of_run(database, reference, transfer)
        version, name = reference.version, reference.name
        if reference.alias:
            sql = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
            version = _only(database, sql, (name, reference.alias), transfer)
        elif not version.isdigit():
            sql = "SELECT current_stage, version FROM model_versions WHERE name = ?"
            known = [(str(stage), str(v)) for stage, v in database.execute(sql, (name,))]
            version = version_at(known, version, transfer)
        sql = (
            "SELECT COALESCE(storage_location, source) FROM model_versions "
            "WHERE name = ? AND version = ?"
        )
        return _only(database, sql, (name, version), transfer)

    def _of_run(
        self, database: sqlite3.Connection, reference: Reference, transfer: Transfer
    ) -> str:
        sql = "SELECT artifact_location FROM logged_models WHERE source_run_id = ? AND name = ?"
        found = database.execute(sql, (reference.run_id, reference.path)).fetchone()
        if found is not None:
            return str(found[0])
        sql = "SELECT artifact_uri FROM runs WHERE run_uuid = ?"
        return f"{_only(database, sql, (reference.run_id,), transfer)}/{reference.path}"


def _only(
    database: sqlite3.Connection, sql: str, values: tuple[str, ...], transfer: Transfer
) -> str:
    found = database.execute(sql, values).fetchone()
    if found is None or not found[0]:
        raise StorageError(f"{transfer.uri}: MLflow's database has no such model; check the name")
    return str(found[0])


class FolderTracking:
    """A folder such as `mlruns`, read in place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def artifact_uri(self, reference: Reference, transfer: Transfer) -> str:
        """See `Tracking`."""
        if reference.model_id:
            meta = self._meta(f"*/models/{reference.model_id}/meta.yaml", transfer)
            return str(meta.get("artifact_location", ""))
        if reference.run_id:
            return self._of_run(reference, transfer)
        version = reference.version
        model = self._folder / "models" / reference.name
        if reference.alias:
            version = self._alias(model / "aliases" / reference.alias, transfer)
        elif not version.isdigit():
            metas = (_yaml(path) for path in model.glob("version-*/meta.yaml"))
            known = [(str(m.get("current_stage")), str(m.get("version"))) for m in metas]
            version = version_at(known, version, transfer)
        meta = self._meta(f"models/{reference.name}/version-{version}/meta.yaml", transfer)
        return str(meta.get("storage_location") or meta.get("source") or "")

    def _of_run(self, reference: Reference, transfer: Transfer) -> str:
        for path in self._folder.glob("*/models/*/meta.yaml"):
            meta = _yaml(path)
            run_and_name = (meta.get("source_run_id"), meta.get("name"))
            if run_and_name == (reference.run_id, reference.path):
                return str(meta.get("artifact_location", ""))
        meta = self._meta(f"*/{reference.run_id}/meta.yaml", transfer)
        return f"{meta.get('artifact_uri', '')}/{reference.path}"

    def _alias(self, path: Path, transfer: Transfer) -> str:
        try:
            return _text(path).strip()
        except OSError as error:
            raise self._nothing(transfer) from error

    def _meta(self, pattern: str, transfer: Transfer) -> dict[str, Any]:
        found = next(self._folder.glob(pattern), None)
        if found is None:
            raise self._nothing(transfer)
        return _yaml(found)

    def _nothing(self, transfer: Transfer) -> StorageError:
        return StorageError(
            f"{transfer.uri}: {self._folder} has no such model; check the name and "
            "MLFLOW_TRACKING_URI"
        )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found, fault = first_value(_text(path))
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error}); is it MLflow's?") from error
    if fault:
        raise StorageError(f"{path} cannot be read ({fault}); is it MLflow's?")
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    """Raises `StorageError` for a file that is too large, and `OSError`."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise StorageError(f"{path} is larger than {_MOST_BYTES >> 20} MiB; is it MLflow's?")
    return content.decode(errors="replace")
