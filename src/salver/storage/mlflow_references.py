"""MLflow's URIs of models, taken apart. Pure.

models:/NAME/VERSION    models:/NAME/latest    models:/NAME/STAGE    models:/NAME@ALIAS
models:/MODEL_ID        runs:/RUN_ID/PATH      mlflow-artifacts:/PATH
"""

from __future__ import annotations

import re

import msgspec

from salver.errors import StorageError

_MODEL_ID = re.compile(r"m-[0-9a-f]{32}\Z")
_SAFE = re.compile(r"[^/\\\x00-\x1f]+\Z")


class Reference(msgspec.Struct, frozen=True):
    """What a URI names: a registered model's version, a logged model, or a run's artifact."""

    name: str = ""
    version: str = ""
    """A number, `latest`, or a stage; empty if an alias says which."""
    alias: str = ""
    model_id: str = ""
    run_id: str = ""
    path: str = ""


def parse_reference(uri: str) -> Reference:
    """Takes `models:/...` or `runs:/...` apart. Raises `StorageError` for another form."""
    scheme, _, rest = uri.partition(":/")
    words = rest.strip("/").split("/")
    if not all(_SAFE.match(word) and word not in (".", "..") for word in words):
        raise _unfit(uri)
    if scheme == "runs" and len(words) >= 2:
        return Reference(run_id=words[0], path="/".join(words[1:]))
    if scheme == "models" and len(words) == 1:
        if _MODEL_ID.match(words[0]):
            return Reference(model_id=words[0])
        name, at, alias = words[0].rpartition("@")
        if at and name and alias:
            return Reference(name=name, alias=alias)
    if scheme == "models" and len(words) == 2:
        return Reference(name=words[0], version=words[1])
    raise _unfit(uri)


def _unfit(uri: str) -> StorageError:
    return StorageError(
        f"{uri}: write models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN_ID/PATH"
    )
