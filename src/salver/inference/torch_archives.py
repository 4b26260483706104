"""What a PyTorch file is, told from its first bytes and the directory of its zip.

Owns the signatures of TorchScript, `torch.export` packages, state dicts and TorchServe's
archives. Refuses to read an entry: nothing is unpickled, unpacked or run. Here rather than in
`artifacts` or `runtimes`, since both ask and neither may import the other.

    TorchScript        zip, one top folder with constants.pkl and code/
    torch.export       zip, archive_format in its one top folder (torch 2.8 and later), or
                       serialized_exported_program.json at the top (before)
    state dict         zip, one top folder with data.pkl and no constants.pkl; the pickle of
                       torch before 1.6, with its magic number; or safetensors
    TorchServe         zip or folder with MAR-INF/MANIFEST.json
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

TorchFormat = Literal["torchscript", "export", "state_dict", "mar", ""]

MANIFEST = "MAR-INF/MANIFEST.json"
LEGACY_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of `torch.save` before torch 1.6 begin: a pickled magic number."""
_LEGACY_EXPORT = "serialized_exported_program.json"
_MOST_HEADER_BYTES = 100_000_000
"""What safetensors itself allows its JSON header."""


def torch_format(path: Path) -> TorchFormat:
    """The format of a file or folder; empty for what is none of PyTorch's, or unreadable."""
    if path.is_dir():
        return "mar" if (path / MANIFEST).is_file() else ""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    is_weights = head.startswith(LEGACY_HEAD) or _is_safetensors(head, path)
    return "state_dict" if is_weights else ""


def _zip_format(path: Path) -> TorchFormat:
    try:
        with zipfile.ZipFile(path) as archive:
            return format_of_names(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""


def format_of_names(names: Iterable[str]) -> TorchFormat:
    """The format of a zip with these entries."""
    entries = set(names)
    if MANIFEST in entries:
        return "mar"
    if _LEGACY_EXPORT in entries:
        return "export"
    # torch.save and torch.export put all they write into one folder named after the file.
    tops = {name.split("/", 1)[0] for name in entries if "/" in name}
    for top in sorted(tops):
        if f"{top}/archive_format" in entries:
            return "export"
        if f"{top}/constants.pkl" in entries:
            return "torchscript"
        if f"{top}/data.pkl" in entries:
            return "state_dict"
    return ""


def _is_safetensors(head: bytes, path: Path) -> bool:
    """Eight bytes that say how long the JSON header is, and the header's brace."""
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(_MOST_HEADER_BYTES, path.stat().st_size - 8)
