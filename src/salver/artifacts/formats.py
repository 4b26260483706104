"""The formats of neural networks, and of models in XML: told by a file's first bytes.

Owns their signatures: Keras, TFLite, PMML, OpenVINO, CatBoost, PyTorch. Only the directory of a zip
archive is read, and nothing is executed.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from salver.artifacts.recognised import Recognised
from salver.artifacts.torch_files import torch_format
from salver.artifacts.zip_files import UNREADABLE_ZIP

_KERAS_ENTRIES = frozenset({"config.json", "metadata.json", "model.weights.h5"})
_XML_ROOT = re.compile(rb"<\s*(?:\w+:)?(PMML|net)[\s>]")
_CATBOOST_JSON = re.compile(rb'"(?:oblivious_trees|scale_and_bias|ctr_data)"')
_TORCH_DETAILS = {
    "torchscript": "TorchScript model",
    "export": "torch.export program",
    "state_dict": "PyTorch state dict",
    "mar": "TorchServe archive",
}
_EXPORT_MODULES = ("torch._export.serde.serialize", "torch.export.pt2_archive._package")
"""What reading a program imports, and would cost each of its workers a second."""


def recognise_network(path: Path, head: bytes) -> Recognised | None:
    """What the file is, None if none of these; `head` is its beginning."""
    if head.startswith(b"PK\x03\x04"):
        return _recognise_archive(path)
    if head[4:8] == b"TFL3":
        return Recognised("tflite", "TFLite model")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Recognised("tensorflow", "Keras model in HDF5")
    if head.startswith(b"CBM1"):
        return Recognised("catboost", "CatBoost model")
    if head.lstrip().startswith(b"{") and _CATBOOST_JSON.search(head):
        return Recognised("catboost", "CatBoost JSON model")
    return _recognise_xml(head) or _recognise_torch(path)


def _recognise_archive(path: Path) -> Recognised | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = frozenset(archive.namelist())
    except UNREADABLE_ZIP:
        return None
    if names >= _KERAS_ENTRIES:
        return Recognised("tensorflow", "Keras model")
    return _recognise_torch(path)


def _recognise_torch(path: Path) -> Recognised | None:
    kind = torch_format(path)
    if not kind:
        return None
    preload = ("torch", *(_EXPORT_MODULES if kind == "export" else ()))
    return Recognised("torch", _TORCH_DETAILS[kind], preload)


def _recognise_xml(head: bytes) -> Recognised | None:
    text = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith(b"<"):
        return None
    root = _XML_ROOT.search(text)
    if root is None:
        return None
    if root[1] == b"PMML":
        return Recognised("pmml", "PMML document")
    return Recognised("openvino", "OpenVINO model")
