"""A loaded Hugging Face model, and how it answers a request of texts or images.

Owns the limits of a text and the batch that is made of all rows of a request; what is computed is
`huggingface_tasks.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, tensor_from_array
from salver.runtimes.huggingface_folder import ModelFolder
from salver.runtimes.huggingface_settings import HuggingfaceSettings
from salver.runtimes.tabular import decoded, named_outputs, refused_by

_NO_LIMIT = 1 << 20


class Loaded(msgspec.Struct, frozen=True):
    """A model and its tokenizer, or its image processor (`reader`)."""

    torch: Any
    transformers: Any
    model: Any
    reader: Any
    device: Any
    settings: HuggingfaceSettings
    folder: ModelFolder
    version: str

    def tokens(self, texts: list[str]) -> Any:
        """The texts as one padded batch on the device."""
        reader = self.reader
        limit = self.limit
        given = reader(
            texts,
            return_tensors="pt",
            padding=len(texts) > 1,
            truncation=limit is not None,
            max_length=limit,
        )
        return given.to(self.device)

    @property
    def limit(self) -> int | None:
        """The most tokens of a text that the model takes."""
        known = [
            self.settings.max_length or _NO_LIMIT,
            int(min(self.reader.model_max_length, _NO_LIMIT)),
            int(getattr(self.model.config, "max_position_embeddings", _NO_LIMIT) or _NO_LIMIT),
        ]
        # A tokenizer knows of positions that a model keeps for itself; its word goes first.
        found = min(known[:2]) if min(known[:2]) < _NO_LIMIT else known[2]
        return found if found < _NO_LIMIT else None

    @property
    def labels(self) -> tuple[str, ...]:
        by_id = self.model.config.id2label
        return tuple(str(by_id[each]) for each in sorted(by_id))


Answers = Callable[[list[Any], Mapping[str, Any]], dict[str, Array]]


class TaskModel:
    """A model that answers with `compute`, of all rows of a request at once."""

    def __init__(
        self,
        loaded: Loaded,
        compute: Answers,
        outputs: tuple[TensorMetadata, ...],
        *,
        defaults: tuple[str, ...],
        takes: str = "text",
        batchable: bool = True,
    ) -> None:
        self._loaded = loaded
        self._compute = compute
        self._takes = takes
        self._metadata = ModelMetadata(
            platform="huggingface",
            inputs=(TensorMetadata(takes, "BYTES", (-1,)),),
            outputs=outputs,
            default_outputs=defaults,
            positional_input=True,
            batchable=batchable,
            framework_version=loaded.version,
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        known = [each.name for each in self._metadata.outputs]
        wanted = named_outputs(request, self._metadata.default_outputs, known)
        data = request.inputs[0].data.reshape(-1)
        rows = (decoded(data) if self._takes == "text" else data).tolist()
        if not rows:
            raise InvalidInput("the request has no rows; send one or more")
        torch = self._loaded.torch
        try:
            with torch.inference_mode():
                found = self._compute(rows, request.parameters)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            raise refused_by("transformers", error) from error
        return InferResponse(tuple(tensor_from_array(name, found[name]) for name in wanted))

    def unload(self) -> None:
        """The model frees itself."""
