"""Packed environments are read as lists of packages."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from salver.artifacts.packed_environments import requirements_in
from salver.errors import ArtifactError

INSTALLED = ("scikit_learn-1.3.2", "numpy-1.26.4", "pip-24.0", "my.package-0.1")


def packed(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in (*INSTALLED, "other"):
            suffix = ".dist-info" if "-" in name else ""
            info = tarfile.TarInfo(f"./lib/python3.10/site-packages/{name}{suffix}/METADATA")
            archive.addfile(info, io.BytesIO())
    return path


def test_a_tarballs_packages_are_pinned_with_its_python(tmp_path: Path) -> None:
    found = requirements_in(packed(tmp_path / "environment.tar.gz"))
    assert found.packages == ("my.package==0.1", "numpy==1.26.4", "scikit-learn==1.3.2")
    assert (found.python, found.python_is_preferred) == ("3.10", True)
    assert found.origin == "environment.tar.gz"


def test_a_folders_packages_are_the_same(tmp_path: Path) -> None:
    for name in INSTALLED:
        (tmp_path / f"lib/python3.10/site-packages/{name}.dist-info").mkdir(parents=True)
    assert requirements_in(tmp_path).packages[-1] == "scikit-learn==1.3.2"


def test_what_is_no_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ArtifactError, match="no archive that can be read"):
        requirements_in(tmp_path / "e.tar.gz")
    with pytest.raises(ArtifactError, match="holds no Python environment"):
        requirements_in(tmp_path)
