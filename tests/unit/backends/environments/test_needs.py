"""What a worker needs is listed in one place, and is all that it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from salver.backends.environments.needs import WORKER_PACKAGES, code_folder, worker_environ
from salver.runtimes.registry import BUILT_IN

_MODULES = {"numpy": "numpy", "msgspec": "msgspec", "orjson": "orjson", "protobuf": "google"}
_MODULES |= {"pysimdjson": "simdjson"}


_PROGRAM = """
import sys
class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] not in {allowed} | sys.stdlib_module_names:
            raise ModuleNotFoundError("not in this environment: " + name, name=name)
sys.meta_path.insert(0, Refusal())
import {modules}
print(*{allowed} & sys.modules.keys())
"""


def test_a_worker_imports_the_packages_listed_and_can_do_without_any_other() -> None:
    modules = ["salver.backends.local.forkstart", "salver.backends.local.worker"]
    modules += ["salver.backends.local.forkserver"]
    modules += [value.partition(":")[0] for value in BUILT_IN.values()]
    listed = {_MODULES[line.partition(">")[0]] for line in WORKER_PACKAGES}
    # pysimdjson's native part lies beside its package, and Salver itself comes by its path.
    allowed = listed | {"salver", "csimdjson"}
    program = _PROGRAM.format(modules=", ".join(modules), allowed=allowed)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == allowed


def test_the_code_folder_holds_salver_and_nothing_else(tmp_path: Path) -> None:
    folder = code_folder(tmp_path)
    assert code_folder(tmp_path) == folder
    assert [path.name for path in folder.iterdir()] == ["salver"]
    assert (folder / "salver" / "errors.py").is_file()


def test_a_workers_variables_are_its_environments_and_not_the_servers(tmp_path: Path) -> None:
    own = {"PATH": "/bin", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/v", "PYTHONHOME": "/h", "A": "1"}
    found = worker_environ(own, tmp_path, tmp_path / "code")
    assert found == {
        "PATH": f"{tmp_path}/bin{os.pathsep}/bin",
        "VIRTUAL_ENV": str(tmp_path),
        "PYTHONPATH": str(tmp_path / "code"),
        "PYTHONSAFEPATH": "1",
        "A": "1",
    }
