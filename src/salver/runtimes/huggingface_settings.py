"""What a Hugging Face folder is for, and the arguments of its runtime, checked. Pure.

The task follows from the architecture that `config.json` names, unless it is given.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args

import msgspec

from salver.errors import LoadFailed

Task = Literal[
    "text-classification",
    "token-classification",
    "feature-extraction",
    "image-classification",
    "fill-mask",
    "text-generation",
]
TASKS: tuple[Task, ...] = get_args(Task)
_SYNONYMS: Mapping[str, Task] = MappingProxyType(
    {
        "sentiment-analysis": "text-classification",
        "sequence_classification": "text-classification",
        "ner": "token-classification",
        "token_classification": "token-classification",
        "sentence-similarity": "feature-extraction",
        "text_embedding": "feature-extraction",
        "embeddings": "feature-extraction",
        "fill_mask": "fill-mask",
        "text_generation": "text-generation",
    }
)
"""As pipelines and KServe call them too."""
_ENDINGS: tuple[tuple[str, Task], ...] = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForImageClassification", "image-classification"),
    ("ForMaskedLM", "fill-mask"),
    ("ForCausalLM", "text-generation"),
    ("LMHeadModel", "text-generation"),
    ("Model", "feature-extraction"),
)
_FOREIGN = frozenset({"settings_file", "extra", "pretrained_model", "framework", "compile"})
"""What a model's settings file puts among the arguments."""


class HuggingfaceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's arguments."""

    task: str = ""
    """One of `TASKS`; empty: by the architecture."""
    device: str = "auto"
    """`auto` (CUDA if there is some), `cpu`, `cuda` or `cuda:N`."""
    max_length: int = 0
    """Tokens of a text, longer ones are cut; 0: as many as the model takes."""
    top_k: int = 5
    """How many words `fill-mask` gives."""
    pooling: Literal["mean", "cls", ""] = ""
    """How `feature-extraction` makes one vector of a text; empty: as the folder says, or mean."""
    normalize: bool | None = None
    """Whether vectors have the length 1; None: as the folder says, or no."""
    aggregation: Literal["none", "simple", "first", "average", "max"] = "simple"
    """How `token-classification` joins the parts of words."""
    max_new_tokens: int = 64
    """How much `text-generation` writes; a request's parameter of that name may say less."""
    trust_remote_code: bool = False
    """Whether Python code that lies in the folder may run."""
    allow_pickled_weights: bool = False
    """Whether weights may be read from files that are no safetensors."""


def huggingface_settings(name: str, parameters: Mapping[str, Any]) -> HuggingfaceSettings:
    """Raises `LoadFailed` naming the argument that is unknown or has a value it cannot have."""
    extra = parameters.get("extra")
    given = dict(parameters) | (dict(extra) if isinstance(extra, Mapping) else {})
    given = {key: value for key, value in given.items() if key not in _FOREIGN}
    known = HuggingfaceSettings.__struct_fields__
    unknown = next((key for key in given if key not in known), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"use {', '.join(known)}"
        raise LoadFailed(
            f"model '{name}': the huggingface runtime has no argument '{unknown}'; {hint}"
        )
    try:
        return msgspec.convert(given, HuggingfaceSettings, strict=False)
    except msgspec.ValidationError as error:
        raise LoadFailed(
            f"model '{name}': an argument of the huggingface runtime: {error}"
        ) from error


def task_of(name: str, given: str, architectures: Sequence[str]) -> Task:
    """Raises `LoadFailed` for a task that this runtime has not, or cannot tell."""
    if given:
        task = next((each for each in TASKS if each == given), _SYNONYMS.get(given))
        if task is None:
            raise LoadFailed(
                f"model '{name}': the huggingface runtime has no task '{given}'; it has "
                + ", ".join(TASKS)
            )
        return task
    for architecture in architectures:
        for ending, found in _ENDINGS:
            if architecture.endswith(ending):
                return found
    raise LoadFailed(
        f"model '{name}': its architecture ({', '.join(architectures) or 'none named'}) does not "
        f"say what it is for; give the argument task, one of {', '.join(TASKS)}"
    )
