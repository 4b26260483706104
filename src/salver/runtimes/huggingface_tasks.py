"""What each task makes of a request: texts or images in, tensors out.

All rows of a request go through the model at once, short texts filled up and masked. Answers are
those of transformers' own pipelines.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.inference.tensor import Array
from salver.runtimes.huggingface_model import Loaded, TaskModel
from salver.runtimes.ports import LoadedModel

_MOST_PIXELS = 64 << 20


def _array(tensor: Any) -> Array:
    found: Array = tensor.detach().float().cpu().numpy()
    return found


def _texts(values: list[Any], *shape: int) -> Array:
    found = np.empty(len(values), dtype=np.object_)
    found[:] = values
    return found.reshape(shape) if shape else found


# --- classes of texts and images -----------------------------------------------------------


def _scores(loaded: Loaded, logits: Any) -> Array:
    """Probabilities of classes; of each alone where several may hold; a number as it is."""
    config = loaded.model.config
    kind = getattr(config, "problem_type", None)
    width = logits.shape[-1]
    if kind == "regression":
        return _array(logits)
    if kind == "multi_label_classification" or width == 1:
        return _array(loaded.torch.sigmoid(logits.float()))
    return _array(loaded.torch.softmax(logits.float(), dim=-1))


def _classified(loaded: Loaded, logits: Any) -> dict[str, Array]:
    scores = _scores(loaded, logits)
    best = scores.argmax(axis=1)
    labels = np.asarray(loaded.labels, dtype=np.object_)
    return {
        "label": labels[best],
        "score": scores[np.arange(len(best)), best],
        "probabilities": scores,
    }


def _classes(loaded: Loaded) -> tuple[TensorMetadata, ...]:
    labels = loaded.labels
    return (
        TensorMetadata("label", "BYTES", (-1,)),
        TensorMetadata("score", "FP32", (-1,)),
        TensorMetadata("probabilities", "FP32", (-1, len(labels)), labels=labels),
    )


def text_classification(loaded: Loaded) -> LoadedModel:
    def compute(texts: list[str], _: Mapping[str, Any]) -> dict[str, Array]:
        return _classified(loaded, loaded.model(**loaded.tokens(texts)).logits)

    return TaskModel(loaded, compute, _classes(loaded), defaults=("label", "score"))


def image_classification(loaded: Loaded) -> LoadedModel:
    def compute(files: list[bytes], _: Mapping[str, Any]) -> dict[str, Array]:
        images = [_image(each, row) for row, each in enumerate(files)]
        given = loaded.reader(images, return_tensors="pt").to(loaded.device)
        return _classified(loaded, loaded.model(**given).logits)

    return TaskModel(loaded, compute, _classes(loaded), defaults=("label", "score"), takes="image")


def _image(file: Any, row: int) -> Any:
    """The image in a file of any kind that Pillow reads. Raises `InvalidInput`."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened = Image.open(io.BytesIO(file if isinstance(file, bytes) else file.encode()))
            if opened.width * opened.height > _MOST_PIXELS:
                raise ValueError(
                    f"it has {opened.width} x {opened.height} pixels, which is too many"
                )
            return opened.convert("RGB")
    except Exception as error:
        # Pillow's readers raise whatever they stumble over in a broken file.
        raise InvalidInput(
            f"row {row} is no image that can be read ({error}); send the bytes of a PNG or JPEG"
        ) from error


# --- tokens ----------------------------------------------------------------------------------


def token_classification(loaded: Loaded) -> LoadedModel:
    pipeline = loaded.transformers.pipeline(
        "token-classification",
        model=loaded.model,
        tokenizer=loaded.reader,
        device=loaded.device,
        aggregation_strategy=loaded.settings.aggregation,
    )

    def compute(texts: list[str], _: Mapping[str, Any]) -> dict[str, Array]:
        found = pipeline(texts, batch_size=len(texts))
        rows = found if isinstance(found[0], list) or not found else [found]
        return {"entities": _texts([json.dumps(_plain(row)) for row in rows])}

    outputs = (TensorMetadata("entities", "BYTES", (-1,)),)
    return TaskModel(loaded, compute, outputs, defaults=("entities",))


def _plain(entities: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """NumPy's numbers as Python's."""
    return [
        {key: value.item() if hasattr(value, "item") else value for key, value in each.items()}
        for each in entities
    ]


def fill_mask(loaded: Loaded) -> LoadedModel:
    count = max(1, min(loaded.settings.top_k, int(loaded.model.config.vocab_size)))
    mask, torch = loaded.reader.mask_token_id, loaded.torch
    if mask is None:
        raise TypeError("its tokenizer has no mask token, which fill-mask needs")

    def compute(texts: list[str], _: Mapping[str, Any]) -> dict[str, Array]:
        given = loaded.tokens(texts)
        where = given["input_ids"] == mask
        wrong = next((i for i, each in enumerate(where.sum(dim=1).tolist()) if each != 1), None)
        if wrong is not None:
            raise InvalidInput(
                f"row {wrong} needs {loaded.reader.mask_token} once, where a word is to be found"
            )
        logits = loaded.model(**given).logits[where].float()
        scores, tokens = torch.softmax(logits, dim=-1).topk(count)
        words = [loaded.reader.decode([each]).strip() for each in tokens.reshape(-1).tolist()]
        return {"token": _texts(words, len(texts), count), "score": _array(scores)}

    outputs = (
        TensorMetadata("token", "BYTES", (-1, count)),
        TensorMetadata("score", "FP32", (-1, count)),
    )
    return TaskModel(loaded, compute, outputs, defaults=("token", "score"))


# --- vectors and texts -----------------------------------------------------------------------


def feature_extraction(loaded: Loaded) -> LoadedModel:
    settings, folder = loaded.settings, loaded.folder
    pooling = settings.pooling or folder.pooling or "mean"
    normalize = folder.normalize if settings.normalize is None else settings.normalize

    def compute(texts: list[str], _: Mapping[str, Any]) -> dict[str, Array]:
        given = loaded.tokens(texts)
        states = loaded.model(**given).last_hidden_state
        if pooling == "cls":
            vectors = states[:, 0]
        else:
            mask = given["attention_mask"].unsqueeze(-1).to(states.dtype)
            vectors = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        if normalize:
            vectors = loaded.torch.nn.functional.normalize(vectors, dim=1)
        return {"embedding": _array(vectors)}

    width = int(getattr(loaded.model.config, "hidden_size", -1) or -1)
    outputs = (TensorMetadata("embedding", "FP32", (-1, width)),)
    return TaskModel(loaded, compute, outputs, defaults=("embedding",))


def text_generation(loaded: Loaded) -> LoadedModel:
    reader, most = loaded.reader, loaded.settings.max_new_tokens
    if reader.pad_token is None:
        reader.pad_token = reader.eos_token
    reader.padding_side = "left"

    def compute(texts: list[str], parameters: Mapping[str, Any]) -> dict[str, Array]:
        wanted = parameters.get("max_new_tokens", most)
        if not isinstance(wanted, int) or not 1 <= wanted <= most:
            raise InvalidInput(f"max_new_tokens is {wanted!r}; give 1 to {most}")
        given = loaded.tokens(texts)
        given.pop("token_type_ids", None)
        written = loaded.model.generate(
            **given, max_new_tokens=wanted, do_sample=False, pad_token_id=reader.pad_token_id
        )
        new = written[:, given["input_ids"].shape[1] :]
        return {"generated_text": _texts(reader.batch_decode(new, skip_special_tokens=True))}

    outputs = (TensorMetadata("generated_text", "BYTES", (-1,)),)
    # Requests may differ in how much they want; rows of others would have to wait for them.
    return TaskModel(loaded, compute, outputs, defaults=("generated_text",), batchable=False)


BUILDERS: Mapping[str, Callable[[Loaded], LoadedModel]] = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "feature-extraction": feature_extraction,
    "image-classification": image_classification,
    "fill-mask": fill_mask,
    "text-generation": text_generation,
}
