"""Which task a Hugging Face folder is for, and the arguments of its runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from salver.errors import LoadFailed
from salver.runtimes.huggingface_folder import check_weights, model_folder
from salver.runtimes.huggingface_settings import huggingface_settings, task_of


@pytest.mark.parametrize(
    ("given", "architecture", "task"),
    [
        ("", "BertForSequenceClassification", "text-classification"),
        ("", "RobertaForTokenClassification", "token-classification"),
        ("", "ViTForImageClassification", "image-classification"),
        ("", "BertForMaskedLM", "fill-mask"),
        ("", "GPT2LMHeadModel", "text-generation"),
        ("", "LlamaForCausalLM", "text-generation"),
        ("", "BertModel", "feature-extraction"),
        ("ner", "BertModel", "token-classification"),
        ("text_embedding", "BertForMaskedLM", "feature-extraction"),
    ],
)
def test_the_task_follows_from_the_architecture(given: str, architecture: str, task: str) -> None:
    assert task_of("m", given, [architecture]) == task


def test_a_task_that_is_none_or_cannot_be_told_is_named() -> None:
    with pytest.raises(LoadFailed, match="no task 'translation'; it has text-class"):
        task_of("m", "translation", ["T5ForConditionalGeneration"])
    with pytest.raises(LoadFailed, match=r"T5ForConditionalGeneration\) does not say"):
        task_of("m", "", ["T5ForConditionalGeneration"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tasks": "ner"}, "no argument 'tasks'; did you mean 'task'"),
        ({"max_length": "long"}, "an argument of the huggingface runtime"),
        ({"pooling": "max"}, "an argument of the huggingface runtime"),
    ],
)
def test_a_wrong_argument_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadFailed, match=message):
        huggingface_settings("m", parameters)


def test_a_settings_files_arguments_are_taken() -> None:
    settings = huggingface_settings("m", {"extra": {"task": "ner", "max_length": "12"}})
    assert (settings.task, settings.max_length) == ("ner", 12)


def sentences(folder: Path, *modules: tuple[str, str]) -> None:
    rows = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "config.json").write_text("{}")


def test_a_module_outside_of_the_folder_or_unknown_is_refused(tmp_path: Path) -> None:
    sentences(tmp_path, ("", "Transformer"), ("../other", "Pooling"))
    with pytest.raises(LoadFailed, match="a folder outside"):
        model_folder("m", tmp_path)
    sentences(tmp_path, ("", "Transformer"), ("2_Dense", "Dense"))
    with pytest.raises(LoadFailed, match="has a Dense"):
        model_folder("m", tmp_path)


def test_only_safetensors_are_read_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="holds no weights"):
        check_weights("m", tmp_path, allow_pickled=True)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(LoadFailed, match="may run code"):
        check_weights("m", tmp_path, allow_pickled=False)
    assert not check_weights("m", tmp_path, allow_pickled=True)
    (tmp_path / "model.safetensors").touch()
    assert check_weights("m", tmp_path, allow_pickled=False)
