"""The Hugging Face runtime in this process, against transformers' own pipelines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.requests import arrays, ask, load

from salver.errors import InvalidInput, LoadFailed
from salver.inference.tensor import InferRequest, tensor_from_array
from salver.runtimes.huggingface_import import torch, transformers
from salver.runtimes.warmup import warmup_request

TEXTS = ["good film", "the film was bad a a the film", "was", "good good good bad film"]


def of(values: list[Any], *outputs: str, **parameters: Any) -> InferRequest:
    tensor = tensor_from_array("text", np.array(values, dtype=object))
    return InferRequest((tensor,), outputs, parameters)


def pipeline(zoo: Any, task: str, name: str, **more: Any) -> Any:
    model = zoo.models[name]
    return transformers.pipeline(task, model=model, tokenizer=zoo.tokenizer, device="cpu", **more)


def strings(array: Any) -> list[str]:
    return [each.decode() for each in array.reshape(-1)]


@pytest.mark.parametrize("name", ["texts", "several"])
def test_texts_have_the_labels_and_scores_of_the_pipeline(zoo: Any, name: str) -> None:
    model = load(zoo.folder / name, "huggingface")
    found = arrays(model.predict(of(TEXTS, "label", "score", "probabilities")))
    wanted = pipeline(zoo, "text-classification", name)(TEXTS, top_k=None)
    best = [max(row, key=lambda each: each["score"]) for row in wanted]
    assert strings(found["label"]) == [each["label"] for each in best]
    np.testing.assert_allclose(found["score"], [each["score"] for each in best], rtol=1e-5)
    assert model.metadata.outputs[2].labels == ("bad", "fair", "good")
    by_label = [{each["label"]: each["score"] for each in row} for row in wanted]
    rows = [[row[label] for label in ("bad", "fair", "good")] for row in by_label]
    np.testing.assert_allclose(found["probabilities"], rows, rtol=1e-5)


def test_a_row_has_the_same_answer_alone_and_padded(zoo: Any) -> None:
    model = load(zoo.folder / "texts", "huggingface")
    together = arrays(model.predict(of(TEXTS, "probabilities")))["probabilities"]
    for row, text in enumerate(TEXTS):
        alone = arrays(model.predict(of([text], "probabilities")))["probabilities"][0]
        np.testing.assert_allclose(together[row], alone, rtol=1e-5)


def test_a_text_beyond_the_models_length_is_cut(zoo: Any) -> None:
    model = load(zoo.folder / "texts", "huggingface")
    found = arrays(model.predict(of(["good " * 500, "good " * 30], "probabilities")))
    np.testing.assert_allclose(*found["probabilities"], rtol=1e-5)


def test_tokens_are_the_pipelines(zoo: Any) -> None:
    model = load(zoo.folder / "tokens", "huggingface")
    found = strings(arrays(model.predict(of(TEXTS)))["entities"])
    own = pipeline(zoo, "token-classification", "tokens", aggregation_strategy="simple")
    for row, text in zip(found, TEXTS, strict=True):
        wanted = own(text)
        entities = json.loads(row)
        assert [(e["word"], e["entity_group"]) for e in entities] == [
            (e["word"], e["entity_group"]) for e in wanted
        ]
        np.testing.assert_allclose(
            [e["score"] for e in entities], [e["score"] for e in wanted], rtol=1e-5
        )


def mean_of_states(zoo: Any, text: str) -> Any:
    with torch.inference_mode():
        states = zoo.models["vectors"](**zoo.tokenizer(text, return_tensors="pt"))
    return states.last_hidden_state[0]


def test_vectors_are_the_mean_of_the_words_that_are_there(zoo: Any) -> None:
    model = load(zoo.folder / "vectors", "huggingface")
    found = arrays(model.predict(of(TEXTS)))["embedding"]
    assert model.metadata.outputs[0].shape == (-1, 16)
    for vector, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(vector, mean_of_states(zoo, text).mean(0), rtol=1e-4, atol=1e-6)
    model = load(zoo.folder / "vectors", "huggingface", parameters={"normalize": True})
    lengths = np.linalg.norm(arrays(model.predict(of(TEXTS)))["embedding"], axis=1)
    np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)


def test_a_sentence_transformers_folder_says_how_it_pools(zoo: Any) -> None:
    model = load(zoo.folder / "sentences", "huggingface")
    found = arrays(model.predict(of(TEXTS)))["embedding"]
    for vector, text in zip(found, TEXTS, strict=True):
        first = mean_of_states(zoo, text)[0].numpy()
        np.testing.assert_allclose(vector, first / np.linalg.norm(first), rtol=1e-4, atol=1e-6)


def test_masked_words_are_the_pipelines(zoo: Any) -> None:
    model = load(zoo.folder / "mask", "huggingface", parameters={"top_k": 3})
    texts = ["good [MASK]", "the [MASK] was bad"]
    found = arrays(model.predict(of(texts)))
    assert found["token"].shape == found["score"].shape == (2, 3)
    own = pipeline(zoo, "fill-mask", "mask")
    for row, text in enumerate(texts):
        wanted = own(text, top_k=3)
        np.testing.assert_allclose(found["score"][row], [e["score"] for e in wanted], rtol=1e-5)
        assert [WORDS.index(each) for each in strings(found["token"][row])] == [
            e["token"] for e in wanted
        ]
    with pytest.raises(InvalidInput, match=r"row 0 needs \[MASK\] once"):
        model.predict(of(["good film"]))


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a", "the", "was"]


def test_what_it_writes_is_what_generate_writes(zoo: Any) -> None:
    model = load(zoo.folder / "writes", "huggingface", parameters={"max_new_tokens": 5})
    found = strings(arrays(model.predict(of(TEXTS)))["generated_text"])
    for text, written in zip(TEXTS, found, strict=True):
        given = zoo.tokenizer(text, return_tensors="pt")
        given.pop("token_type_ids", None)
        with torch.inference_mode():
            wanted = zoo.models["writes"].generate(
                **given, max_new_tokens=5, do_sample=False, pad_token_id=0
            )
        new = wanted[0, given["input_ids"].shape[1] :]
        assert written == zoo.tokenizer.decode(new, skip_special_tokens=True)
    one = arrays(model.predict(of(TEXTS[:1], max_new_tokens=1)))["generated_text"]
    assert len(strings(one)[0].split()) <= 1
    with pytest.raises(InvalidInput, match="give 1 to 5"):
        model.predict(of(TEXTS, max_new_tokens=6))


def test_images_have_the_labels_of_the_pipeline(zoo: Any) -> None:
    import io

    from PIL import Image
    from tests.frameworks.huggingface.conftest import png

    model = load(zoo.folder / "images", "huggingface")
    files = [png(seed) for seed in range(3)]
    found = arrays(model.predict(ask(image=np.array(files, dtype=object))))
    reader = transformers.AutoImageProcessor.from_pretrained(zoo.folder / "images")
    own = transformers.pipeline(
        "image-classification", model=zoo.models["images"], image_processor=reader
    )
    wanted = [own(Image.open(io.BytesIO(each)), top_k=1)[0] for each in files]
    assert strings(found["label"]) == [each["label"] for each in wanted]
    np.testing.assert_allclose(found["score"], [each["score"] for each in wanted], rtol=1e-4)
    with pytest.raises(InvalidInput, match="row 1 is no image"):
        model.predict(ask(image=np.array([files[0], b"no"], dtype=object)))


def test_warmed_up_it_answers(zoo: Any) -> None:
    for path in sorted(zoo.folder.iterdir()):
        model = load(path, "huggingface")
        request = warmup_request(model.metadata)
        assert request is not None
        if path.name not in ("mask", "images"):
            model.predict(request)


def copy(zoo: Any, name: str, to: Path) -> Path:
    return Path(shutil.copytree(zoo.folder / name, to / "m"))


def test_pickled_weights_are_refused_unless_allowed(zoo: Any, tmp_path: Path) -> None:
    path = copy(zoo, "texts", tmp_path)
    (path / "model.safetensors").unlink()
    torch.save(zoo.models["texts"].state_dict(), path / "pytorch_model.bin")
    with pytest.raises(LoadFailed, match=r"pytorch_model\.bin may run code"):
        load(path, "huggingface")
    model = load(path, "huggingface", parameters={"allow_pickled_weights": True})
    assert len(arrays(model.predict(of(TEXTS)))["label"]) == 4


def test_code_of_the_folder_does_not_run(zoo: Any, tmp_path: Path) -> None:
    path = copy(zoo, "texts", tmp_path)
    config = json.loads((path / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {
            "AutoConfig": "code.OwnConfig",
            "AutoModelForSequenceClassification": "code.Own",
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(LoadFailed, match="trust_remote_code"):
        load(path, "huggingface")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "model.safetensors").write_bytes(b"\xff" * 99), "could not load"),
        (lambda path: (path / "model.safetensors").unlink(), "holds no weights"),
        (lambda path: (path / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda path: (path / "config.json").write_text("[]"), "no JSON dict"),
        (lambda path: (path / "config.json").write_text("{}"), "does not say what it is for"),
        (lambda path: (path / "tokenizer.json").write_text("{"), "could not load"),
    ],
)
def test_a_broken_folder_is_refused(zoo: Any, tmp_path: Path, change: Any, message: str) -> None:
    path = copy(zoo, "texts", tmp_path)
    change(path)
    with pytest.raises(LoadFailed, match=message):
        load(path, "huggingface")


def test_weights_of_another_task_are_refused(zoo: Any) -> None:
    with pytest.raises(LoadFailed, match="is it trained for token-classification"):
        load(zoo.folder / "vectors", "huggingface", parameters={"task": "ner"})
