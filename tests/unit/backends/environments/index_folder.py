"""A package index of tiny wheels in a folder, and variables by which uv asks nothing else."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

WORKER = (
    ("numpy", "2.2.0"),
    ("msgspec", "0.19.0"),
    ("orjson", "3.10.0"),
    ("pysimdjson", "7.0.0"),
    ("protobuf", "6.31.0"),
)


def add_wheel(folder: Path, name: str, version: str, requires: Iterable[str] = ()) -> None:
    """Puts a wheel there with one module, which holds its version."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    project = folder / name
    project.mkdir(exist_ok=True)
    file = project / f"{name}-{version}-py3-none-any.whl"
    with (project / "index.html").open("a") as page:
        page.write(f'<a href="{file.name}">{file.name}</a>\n')
    with zipfile.ZipFile(file, "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)


def make_index(folder: Path) -> Path:
    """An index, as a folder of pages, with what a worker needs and `leftpad` in two versions."""
    folder.mkdir()
    for name, version in WORKER:
        add_wheel(folder, name, version)
    add_wheel(folder, "leftpad", "1.0")
    add_wheel(folder, "leftpad", "2.0", ["numpy<2"])
    add_wheel(folder, "rightpad", "1.0", ["leftpad==1.0"])
    return folder


def variables(index: Path, cache: Path) -> dict[str, str]:
    """The process's own, with uv told to use this folder alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    return kept | {
        "UV_DEFAULT_INDEX": index.as_uri(),
        "UV_CACHE_DIR": str(cache),
    }
