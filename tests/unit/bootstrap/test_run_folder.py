"""The folder of a run: gone with it, and what killed servers have left is found."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from salver.bootstrap.run_folder import RunFolder, remove_stale

LATER_S = 100.0


def test_it_goes_with_the_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (folder.made("regions") / "table").write_text("{}")
    folder.close()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_server_has_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    program = (
        "import os, pathlib; from salver.bootstrap.run_folder import RunFolder; "
        f"RunFolder(pathlib.Path({str(tmp_path)!r})).made('regions'); os.kill(os.getpid(), 9)"
    )
    running = RunFolder(tmp_path)
    others = tmp_path / "others", tmp_path / "salver-run-file", tmp_path / "salver-run-link"
    others[0].mkdir()
    others[1].write_text("")
    others[2].symlink_to(others[0], target_is_directory=True)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (left,) = {*tmp_path.iterdir()} - {running.path, *others}
    remove_stale(tmp_path, time.time())
    assert left.is_dir(), "it may be about to be locked"
    remove_stale(tmp_path, time.time() + LATER_S)
    assert {*tmp_path.iterdir()} == {running.path, *others}
    running.close()
