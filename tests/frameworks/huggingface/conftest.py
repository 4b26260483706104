"""Tiny models of each task, made here and saved as Hugging Face folders once for all tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

from salver.runtimes.huggingface_import import torch, transformers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a", "the", "was"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
LABELS = {
    "id2label": {0: "bad", 1: "fair", 2: "good"},
    "label2id": {"bad": 0, "fair": 1, "good": 2},
}


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(WORDS[:5])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=32,
    )


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`folder` with a folder for each of `models`, and the `tokenizer`."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("zoo")
    bert = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=40, **SIZES)
    named = transformers.BertConfig(
        vocab_size=len(WORDS), max_position_embeddings=40, **SIZES, **LABELS
    )
    several = transformers.BertConfig(
        vocab_size=len(WORDS),
        max_position_embeddings=40,
        problem_type="multi_label_classification",
        **SIZES,
        **LABELS,
    )
    gpt = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=64, eos_token_id=3
    )
    vit = transformers.ViTConfig(image_size=8, patch_size=4, **SIZES, **LABELS)
    models = {
        "texts": transformers.BertForSequenceClassification(named),
        "several": transformers.BertForSequenceClassification(several),
        "tokens": transformers.BertForTokenClassification(named),
        "vectors": transformers.BertModel(bert),
        "mask": transformers.BertForMaskedLM(bert),
        "writes": transformers.GPT2LMHeadModel(gpt),
        "images": transformers.ViTForImageClassification(vit),
    }
    words = tokenizer()
    for name, model in models.items():
        model.eval().save_pretrained(folder / name)
        if name == "images":
            size = {"height": 8, "width": 8}
            transformers.ViTImageProcessor(size=size).save_pretrained(folder / name)
        else:
            words.save_pretrained(folder / name)
    _sentence_transformers(folder / "sentences", models["vectors"], words)
    return SimpleNamespace(folder=folder, models=models, tokenizer=words)


def _sentence_transformers(folder: Path, model: Any, words: Any) -> None:
    """As sentence-transformers lays it out."""
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in kinds.items()
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text("{}")
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def png(seed: int) -> bytes:
    """A picture of noise."""
    import io

    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 255, (10, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()
