"""What TorchServe's handlers import of it, for environments that it is not installed in.

Written after its documentation: the base handler and the essentials of two default handlers.
Where the package `ts` is installed, it is left alone. The context is `torch_context.py`'s.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import io
import json
import logging
import re
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from salver.runtimes.torch_context import Context

logger = logging.getLogger("salver.worker")

PACKAGE = "ts"
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+=*\s*")
"""No image file is made of such characters alone."""
_BOX_THRESHOLD = 0.5
_TOP = 5


class BaseHandler:
    """Loads the archived module and runs it: to be derived from, a method at a time."""

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: Any = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.model_pt_path: str | None = None
        self.manifest: dict[str, Any] = {}
        self.map_location = "cpu"
        self.explain = False
        self.target = 0

    def initialize(self, context: Any) -> None:
        """Loads TorchScript, or a state dict into the class in the archive's model file."""
        torch = importlib.import_module("torch")
        self.context, self.manifest = context, context.manifest
        folder = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        self.map_location = "cpu" if gpu is None else f"cuda:{gpu}"
        self.device = torch.device(self.map_location)
        model = self.manifest["model"]
        name, code = model.get("serializedFile"), model.get("modelFile")
        if name:
            self.model_pt_path = str(folder / name)
        if code:
            self.model = self._load_pickled_model(str(folder), code, self.model_pt_path)
        elif self.model_pt_path:
            self.model = self._load_torchscript_model(self.model_pt_path)
        else:
            raise ValueError("the archive has neither a serialized file nor a model file")
        self.model.to(self.device)
        self.model.eval()
        labels = folder / "index_to_name.json"
        self.mapping = json.loads(labels.read_text()) if labels.is_file() else None
        self.initialized = True

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        torch = importlib.import_module("torch")
        with warnings.catch_warnings():
            # It warns of its own age.
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(model_pt_path, map_location=self.device)

    def _load_pickled_model(
        self, model_dir: str, model_file: str, model_pt_path: str | None
    ) -> Any:
        torch = importlib.import_module("torch")
        code = _imported(Path(model_dir) / model_file)
        own = [
            each
            for each in vars(code).values()
            if isinstance(each, type)
            and issubclass(each, torch.nn.Module)
            and each.__module__ == code.__name__
        ]
        if len(own) != 1:
            raise ValueError(f"{model_file} must have one class of torch.nn.Module, not {len(own)}")
        model = own[0]()
        if model_pt_path:
            weights = torch.load(model_pt_path, map_location=self.device, weights_only=True)
            model.load_state_dict(weights)
        return model

    def preprocess(self, data: list[dict[str, Any]]) -> Any:
        torch = importlib.import_module("torch")
        return torch.as_tensor([_payload(row) for row in data], device=self.device)

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        torch = importlib.import_module("torch")
        with torch.inference_mode():
            moved = data.to(self.device) if hasattr(data, "to") else data
            return self.model(moved, *args, **kwargs)

    def postprocess(self, data: Any) -> list[Any]:
        answers: list[Any] = data.tolist() if hasattr(data, "tolist") else list(data)
        return answers

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))


class VisionHandler(BaseHandler):
    """Images as base64 text, as bytes of an image file, or as arrays of numbers."""

    image_processing: Any = None

    def preprocess(self, data: list[dict[str, Any]]) -> Any:
        torch = importlib.import_module("torch")
        images = [self._image(torch, _payload(row)) for row in data]
        return torch.stack(images).to(self.device)

    def _image(self, torch: Any, image: Any) -> Any:
        if isinstance(image, str) or (isinstance(image, bytes) and _BASE64.fullmatch(image)):
            image = base64.b64decode(image)
        if not isinstance(image, bytes | bytearray):
            return torch.tensor(image, dtype=torch.float32)
        pillow = importlib.import_module("PIL.Image")
        return self._processed(pillow.open(io.BytesIO(image)).convert("RGB"))

    def _processed(self, image: Any) -> Any:
        if self.image_processing is not None:
            return self.image_processing(image)
        transforms = importlib.import_module("torchvision.transforms")
        return transforms.ToTensor()(image)


class ImageClassifier(VisionHandler):
    """The most probable classes of each image, by label where the archive has labels."""

    topk = _TOP

    def _processed(self, image: Any) -> Any:
        if self.image_processing is None:
            make = importlib.import_module("torchvision.transforms")
            mean, spread = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
            steps = [make.Resize(256), make.CenterCrop(224), make.ToTensor()]
            self.image_processing = make.Compose([*steps, make.Normalize(mean, spread)])
        return self.image_processing(image)

    def postprocess(self, data: Any) -> list[Any]:
        torch = importlib.import_module("torch")
        chances = torch.nn.functional.softmax(data, dim=1)
        best, classes = torch.topk(chances, min(self.topk, chances.shape[1]), dim=1)
        return map_class_to_label(best.tolist(), self.mapping, classes.tolist())


class ObjectDetector(VisionHandler):
    """The boxes of each image that are probable enough, with class and score."""

    threshold = _BOX_THRESHOLD

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        return super().inference(list(data), *args, **kwargs)

    def postprocess(self, data: Any) -> list[Any]:
        found = []
        for image in data:
            rows = zip(
                image["boxes"].tolist(),
                image["labels"].tolist(),
                image["scores"].tolist(),
                strict=True,
            )
            found.append(
                [
                    {self._label(label): box, "score": score}
                    for box, label, score in rows
                    if score >= self.threshold
                ]
            )
        return found

    def _label(self, label: int) -> str:
        return str(self.mapping[str(label)]) if self.mapping else str(label)


def map_class_to_label(
    probs: list[list[float]], mapping: Any = None, lbl_classes: Any = None
) -> list[dict[str, float]]:
    """A dict from label to probability for each row."""
    found = []
    for index, row in enumerate(probs):
        classes = lbl_classes[index] if lbl_classes is not None else range(len(row))
        names = [_label_of(mapping, each) for each in classes]
        found.append(dict(zip(names, row, strict=True)))
    return found


def _label_of(mapping: Any, index: int) -> str:
    label = mapping[str(index)] if mapping else index
    return str(label[-1] if isinstance(label, list) else label)


def _payload(row: dict[str, Any]) -> Any:
    value = row.get("data")
    return row.get("body") if value is None else value


def _imported(path: Path) -> ModuleType:
    name = f"salver_archived_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def default_handler(named: str) -> BaseHandler | None:
    """The default handler of that name, None if it is none.

    Raises `ValueError` for one that needs libraries which are no longer kept.
    """
    if named in ("text_classifier", "image_segmenter"):
        raise ValueError(
            f"the default handler {named} is not offered; archive a handler of your own, derived "
            "from ts.torch_handler.base_handler.BaseHandler"
        )
    kinds = {
        "base_handler": BaseHandler,
        "image_classifier": ImageClassifier,
        "object_detector": ObjectDetector,
    }
    return kinds[named]() if named in kinds else None


def stand_in() -> None:
    """Makes `ts` and its handlers importable, if they are not."""
    if PACKAGE in sys.modules or importlib.util.find_spec(PACKAGE) is not None:
        return
    offered: dict[str, dict[str, Any]] = {
        "ts": {},
        "ts.context": {"Context": Context},
        "ts.torch_handler": {},
        "ts.torch_handler.base_handler": {"BaseHandler": BaseHandler},
        "ts.torch_handler.vision_handler": {"VisionHandler": VisionHandler},
        "ts.torch_handler.image_classifier": {"ImageClassifier": ImageClassifier},
        "ts.torch_handler.object_detector": {"ObjectDetector": ObjectDetector},
        "ts.utils": {},
        "ts.utils.util": {"map_class_to_label": map_class_to_label},
    }
    for name, members in offered.items():
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(members)
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent:
            vars(sys.modules[parent])[own] = module
    logger.debug("TorchServe is not installed: what handlers import of it is stood in for")
