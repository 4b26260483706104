"""Debian's own PyTorch as a wheel: an old one without the code for GPUs, which PyPI does not have.

The package `python3-torch` must be installed, for the Python that the tests run on; the wheel needs
its libraries in /usr/lib, so it is of use on this machine alone.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGES = Path("/usr/lib/python3/dist-packages")
REQUIRES = ("numpy", "typing-extensions")


def debian_torch() -> str:
    """Its version as PyTorch tells it; empty if it is not there, or for another Python."""
    tag = f"cpython-{sys.version_info.major}{sys.version_info.minor}"
    if not list((PACKAGES / "torch").glob(f"_C.{tag}-*.so")):
        return ""
    text = (PACKAGES / "torch" / "version.py").read_text()
    said: dict[str, str] = {}
    exec(text, said)
    return said["__version__"]


def write_wheel(folder: Path) -> Path:
    """A wheel of what Debian has installed. Its large libraries stay where they are."""
    version = debian_torch()
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    path = folder / f"torch-{version}-{python}-{python}-linux_x86_64.whl"
    facts = f"torch-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in REQUIRES)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for source in sorted((PACKAGES / "torch").rglob("*")):
            is_elsewhere = source.is_symlink() and source.name != "libtorch_global_deps.so"
            if source.is_file() and not is_elsewhere and "__pycache__" not in source.parts:
                wheel.write(source, source.relative_to(PACKAGES))
        wheel.writestr(
            f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n{needs}"
        )
        tag = f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {python}-{python}-linux_x86_64\n"
        wheel.writestr(f"{facts}/WHEEL", tag)
        names = "".join(f"{name},,\n" for name in wheel.namelist())
        wheel.writestr(f"{facts}/RECORD", f"{names}{facts}/RECORD,,\n")
    return path
