"""TensorFlow Serving's REST routes about models: status and metadata, by version and by label.

Where KServe has a route of the same path (`GET /v1/models/NAME`), the answer has the members of
both. Errors are `{"error": message}` in either.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from salver.engine.directory import ModelDirectory
from salver.engine.on_demand import metadata_of
from salver.engine.ports import ModelCatalog
from salver.errors import ModelNotFound
from salver.inference.metadata import ModelMetadata, SignatureMetadata, TensorMetadata
from salver.protocol.tfs_signatures import DTYPES, shape_of, signatures_of, version_number
from salver.server.rest.answers import json_answer
from salver.server.rest.models import SEEN_CATALOG
from salver.server.tfs_facts import Spec, find, status_documents, version_statuses

_MOST_DIGITS = 19


class TfsRoutes:
    """The endpoints over one directory."""

    def __init__(self, directory: ModelDirectory, *, timeout_s: float) -> None:
        """`timeout_s` is how long a model in standby may take to load for its metadata."""
        self._directory = directory
        self._timeout_s = timeout_s

    def routes(self) -> list[Route]:
        model = "/v1/models/{name}"
        versioned, labelled = model + "/versions/{version}", model + "/labels/{label}"
        return [
            *(Route(path + "/metadata", self.metadata) for path in (model, versioned, labelled)),
            Route(versioned, self.status),
            Route(labelled, self.status),
        ]

    async def status(self, request: Request) -> Response:
        """The state of one version."""
        catalog, spec = self._asked(request)
        found = version_statuses(self._directory, spec, catalog)
        return json_answer({"model_version_status": status_documents(found)})

    async def metadata(self, request: Request) -> Response:
        """The signatures that can be asked for."""
        catalog, spec = self._asked(request)
        model = find(self._directory, spec, catalog)
        metadata = await metadata_of(model, self._timeout_s)
        return json_answer(metadata_document(spec.name, model.version, metadata))

    def _asked(self, request: Request) -> tuple[ModelCatalog, Spec]:
        catalog: ModelCatalog = request.scope.get(SEEN_CATALOG, self._directory)
        path = request.path_params
        version, label = path.get("version", ""), path.get("label", "")
        is_number = version.isascii() and version.isdigit() and len(version) < _MOST_DIGITS
        if version and not is_number:
            # Salver's versions may be words, which TensorFlow Serving has as labels only.
            if version not in catalog.versions(path["name"]):
                raise ModelNotFound(f"model '{path['name']}' has no version '{version[:64]}'")
            version, label = "", version
        return catalog, Spec(path["name"], int(version) if version else None, label)


def metadata_document(name: str, version: str, metadata: ModelMetadata) -> dict[str, Any]:
    """The body of `GET /v1/models/NAME/metadata`."""
    number = version_number(version)
    spec = {"name": name, "signature_name": ""}
    if number is not None:
        spec["version"] = str(number)
    signatures = {each.name: _signature(each) for each in signatures_of(metadata)}
    return {
        "model_spec": spec,
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _signature(signature: SignatureMetadata) -> dict[str, Any]:
    return {
        "inputs": {each.name: _tensor(each) for each in signature.inputs},
        "outputs": {each.name: _tensor(each) for each in signature.outputs},
        "method_name": signature.method_name,
    }


def _tensor(tensor: TensorMetadata) -> dict[str, Any]:
    shape = shape_of(tensor)
    return {
        "dtype": DTYPES[tensor.datatype][0],
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in shape or ()],
            "unknown_rank": shape is None,
        },
        "name": tensor.name,
    }
