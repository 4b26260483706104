"""Compares the working tree's Salver with another revision's, in one run.

    python bench/against.py [REVISION] [--cases lr,...] [--rounds 5] [--seconds 3] [-o result.json]

The revision (default HEAD, the parent of what is not committed yet) is unpacked under .bench/,
apart from git's own work trees, and installed into an environment of its own with the versions
of this one's packages.
The ratio says how many times the revision's rate the tree does.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from functools import cache
from pathlib import Path

from harness.environments import make_environment, own_constraints
from harness.options import cases_of, end_on_signals, parser, plan_of, say
from harness.places import CACHE, ROOT
from harness.report import Report, finish, measure
from harness.servers import own_environment, salver


def git(*arguments: str) -> bytes:
    """git's output, in the repository; ends the program with git's message on failure."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.decode().strip()}")
    return done.stdout


def revision_environment(commit: str) -> Path:
    """An environment with Salver of the commit, made once for each set of packages."""
    folder = CACHE / "against" / commit
    folder.mkdir(parents=True, exist_ok=True)
    constraints = folder / "constraints.txt"
    constraints.write_text(own_constraints())
    source = folder / "source"
    if not source.exists():
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
            archive.extractall(source, filter="data")
    packages = [f"salver[sklearn,xgboost,onnx] @ {source.as_uri()}", "-c", str(constraints)]
    stamp = hashlib.sha256(constraints.read_bytes()).hexdigest()
    return make_environment(folder / "venv", packages, stamp=stamp)


def main() -> int:
    """Runs the comparison; 130 after Ctrl-C, with the tables of what was measured."""
    options = parser("Compares this tree's Salver with another revision's.")
    options.add_argument("revision", nargs="?", default="HEAD")
    arguments = options.parse_args()
    commit = git("rev-parse", "--verify", f"{arguments.revision}^{{commit}}").decode().strip()
    environment = cache(lambda: revision_environment(commit))
    before = salver(f"salver@{commit[:10]}", environment)
    report = Report(reference="tree", plan=plan_of(arguments))
    end_on_signals()
    interrupted = False
    try:
        measure(report, cases_of(arguments), [salver("tree", own_environment), before], say)
    except KeyboardInterrupt:
        interrupted = True
    finish(report, arguments.output)
    return 130 if interrupted else 0


if __name__ == "__main__":
    raise SystemExit(main())
