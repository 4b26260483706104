"""What there is to tell of a deployment on Seldon's metadata routes, for REST and gRPC alike."""

from __future__ import annotations

from typing import Any

from salver.engine.directory import ModelDirectory
from salver.engine.on_demand import metadata_of
from salver.errors import ModelNotReady
from salver.inference.metadata import ModelMetadata
from salver.protocol.seldon_metadata import graph_document, model_document

_UNKNOWN = ModelMetadata(platform="", inputs=(), outputs=())


async def part_facts(
    directory: ModelDirectory, scope: str, node: str, timeout_s: float
) -> dict[str, Any]:
    """The metadata of a deployment, or of the part of that name. Raises `RequestError`."""
    model = directory.find_seldon(scope, node)
    metadata = await metadata_of(model, timeout_s)
    return model_document(node or model.name, [model.version], metadata)


async def graph_facts(directory: ModelDirectory, scope: str, timeout_s: float) -> dict[str, Any]:
    """The metadata of a deployment and all of its parts. Raises `RequestError`."""
    model = directory.find_seldon(scope)
    parts = directory.seldon_parts(scope) or {model.name: model}
    models = {}
    for name, part in parts.items():
        try:
            metadata = await metadata_of(part, timeout_s)
        except ModelNotReady:
            metadata = _UNKNOWN
        models[name] = model_document(name, [part.version], metadata)
    entry = await metadata_of(model, timeout_s)
    whole = model_document(model.name, [model.version], entry)
    return graph_document(whole, models)
