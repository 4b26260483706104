"""PyTorch models: TorchScript, torch.export, state dicts with a class, TorchServe's archives.

Owns the device, the threads and the order of loading; each format has a reader of its own
(`torch_script.py`, `torch_export.py`, `torch_module.py`, `torch_mar.py`). Nothing of a file
is unpickled but tensors; what runs is code that the user names or a `.mar` brings.

A fork server may import torch: that starts no thread, and CUDA is first touched in `load`.
"""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from salver.errors import LoadFailed
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.torch_export import read_export
from salver.runtimes.torch_mar import read_mar
from salver.runtimes.torch_model import TorchModel
from salver.runtimes.torch_module import read_module
from salver.runtimes.torch_parts import Parts, parts_of
from salver.runtimes.torch_probe import learnt
from salver.runtimes.torch_program import TorchProgram
from salver.runtimes.torch_script import read_script
from salver.runtimes.torch_settings import TorchSettings, torch_settings

logger = logging.getLogger("salver.worker")

_MOST_INFLATION = 8
_ALWAYS_ALLOWED_BYTES = 64 << 20


class TorchRuntime:
    """Loads models with the installed PyTorch."""

    name = "torch"
    framework = "torch"
    preload = ("torch",)

    def load(self, source: ModelSource) -> LoadedModel:
        settings = torch_settings(source.name, source.parameters)
        torch = framework_module(source, "torch", "torch")
        parts = parts_of(source, settings)
        _check_size(source, parts.weights)
        _limit_threads(torch, source.threads)
        device = _device(torch, source, settings.device)
        with load_failures(source, f"PyTorch {torch.__version__}"):
            if parts.format == "mar":
                return read_mar(torch, source, parts.weights, device)
            program = _read(torch, source, parts, settings, device)
            return _served(torch, source, program, settings, device)


def _read(
    torch: Any, source: ModelSource, parts: Parts, settings: TorchSettings, device: Any
) -> TorchProgram:
    if parts.format == "torchscript":
        return read_script(torch, source, parts.weights, device)
    if parts.format == "export":
        return read_export(torch, source, parts.weights, device)
    return read_module(torch, source, parts, settings, device)


def _served(
    torch: Any, source: ModelSource, program: TorchProgram, settings: TorchSettings, device: Any
) -> TorchModel:
    """The program with the declared names, compiled if so wished, and tried out."""
    program = msgspec.structs.replace(
        program,
        function=_compiled(torch, source, program, settings.compile_mode),
        inputs=source.inputs or program.inputs,
        outputs=source.outputs or program.outputs,
    )
    model = TorchModel(torch, program, device)
    outputs, is_rowwise = learnt(model, source.name, has_free_rows=program.has_free_rows)
    said = settings.batchable if settings.batchable is not None else program.batchable
    takes_tensors = all(each.kind == "tensor" for each in program.arguments)
    unknown = not outputs and program.has_free_rows and takes_tensors
    batchable = is_rowwise or (unknown and source.batch_requested)
    return model.described(
        program.outputs or outputs, batchable=batchable if said is None else bool(said)
    )


def _compiled(torch: Any, source: ModelSource, program: TorchProgram, mode: str) -> Any:
    if not mode:
        return program.function
    if program.platform == "pytorch_torchscript":
        raise LoadFailed(
            f"model '{source.name}': TorchScript cannot be compiled further; leave compile out, or "
            "save the model with torch.export"
        )
    return torch.compile(program.function, mode=mode, dynamic=True)


def _check_size(source: ModelSource, path: Path) -> None:
    """Raises `LoadFailed` for an archive that grows beyond measure when it is read."""
    if path.is_dir() or not zipfile.is_zipfile(path):
        return
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        inflated = sum(entry.file_size for entry in archive.infolist())
    if inflated > _MOST_INFLATION * size + _ALWAYS_ALLOWED_BYTES:
        raise LoadFailed(
            f"model '{source.name}': {path} has {size >> 10} KiB and would grow to "
            f"{inflated >> 20} MiB: PyTorch's own archives do not; save the model again"
        )


def _limit_threads(torch: Any, threads: int) -> None:
    """This process is one replica: what is set for it, no other replica gets."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:
        try:
            torch.set_num_interop_threads(1)
        except RuntimeError:
            # Only before the first of them runs; later it has no cost to leave them.
            logger.debug("the inter-op threads have been started already")


def _device(torch: Any, source: ModelSource, wanted: str) -> Any:
    """The device; None is the CPU. Raises `LoadFailed` for one that is not there."""
    kind, _, index = wanted.partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu":
        return None
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise LoadFailed(_no_device(source, wanted, torch, "there is no Apple GPU"))
        return torch.device("mps")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise LoadFailed(_no_device(source, wanted, torch, f"there are {count} CUDA devices"))
    return torch.device("cuda", int(index or 0))


def _no_device(source: ModelSource, wanted: str, torch: Any, fact: str) -> str:
    return (
        f"model '{source.name}': device {wanted} cannot be had: {fact} that PyTorch "
        f"{torch.__version__} can use here; choose device cpu or auto"
    )
