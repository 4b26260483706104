"""Where a version of a model of a Triton repository lies."""

from __future__ import annotations

from pathlib import Path

import msgspec


class TritonPlace(msgspec.Struct, frozen=True):
    """The model's folder, which holds `config.pbtxt`, and the version's name in it."""

    folder: Path
    version: str

    @property
    def version_folder(self) -> Path:
        return self.folder / self.version
