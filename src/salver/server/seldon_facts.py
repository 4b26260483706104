"""What there is to tell of a deployment on Seldon's metadata routes, for REST and gRPC alike."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from salver.engine.directory import ModelDirectory
from salver.engine.on_demand import metadata_of
from salver.engine.seldon_asking import own_metadata
from salver.engine.seldon_component import SeldonPart
from salver.errors import ModelNotReady, RequestError
from salver.inference.metadata import ModelMetadata
from salver.protocol.seldon_metadata import graph_document, model_document, with_own

logger = logging.getLogger("salver.graphs")

_UNKNOWN = ModelMetadata(platform="", inputs=(), outputs=())


async def part_facts(
    directory: ModelDirectory, scope: str, node: str, timeout_s: float
) -> dict[str, Any]:
    """The metadata of a deployment, or of the part of that name. Raises `RequestError`."""
    part = directory.seldon_part(scope, node)
    return await _facts(node or part.model.name, part, timeout_s)


async def graph_facts(directory: ModelDirectory, scope: str, timeout_s: float) -> dict[str, Any]:
    """The metadata of a deployment and all of its parts. Raises `RequestError`."""
    model = directory.find_seldon(scope)
    parts = directory.seldon_parts(scope) or {model.name: SeldonPart(model)}
    found = await asyncio.gather(
        *(_facts_if_any(name, part, timeout_s) for name, part in parts.items())
    )
    models = dict(zip(parts, found, strict=True))
    entry = await metadata_of(model, timeout_s)
    whole = model_document(model.name, [model.version], entry)
    return graph_document(whole, models)


async def _facts(name: str, part: SeldonPart, timeout_s: float) -> dict[str, Any]:
    """What is known of a part; of a component that declares more, its own words. Raises
    `RequestError`."""
    metadata = await metadata_of(part.model, timeout_s)
    document = model_document(name, [part.model.version], metadata)
    if not part.function:
        return document
    return with_own(document, await own_metadata(name, part, timeout_s, time.monotonic))


async def _facts_if_any(name: str, part: SeldonPart, timeout_s: float) -> dict[str, Any]:
    """The same, as far as it goes: one part does not hide the others."""
    try:
        return await _facts(name, part, timeout_s)
    except ModelNotReady:
        return model_document(name, [part.model.version], _UNKNOWN)
    except RequestError as error:
        logger.warning("component '%s' does not say what it is: %s", name, error)
        return model_document(name, [part.model.version], _UNKNOWN)
