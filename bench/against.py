"""Compares the working tree's Salver with another revision's, in one run.

    python bench/against.py [REVISION] [--cases lr,...] [--rounds 5] [--seconds 3] [-o result.json]

The revision (default HEAD, the parent of what is not committed yet) is checked out into a git
worktree under .bench/ and installed into an environment of its own.
The ratio says how many times the revision's rate the tree does.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.environments import make_environment
from harness.options import cases_of, end_on_signals, parser, plan_of, say
from harness.places import CACHE, ROOT
from harness.report import Report, finish, measure
from harness.servers import own_environment, salver


def git(*arguments: str) -> str:
    """git's output, in the repository; its own message on failure."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def revision_environment(commit: str) -> Path:
    """An environment with Salver of the commit; the worktree is needed only to build it."""
    folder = CACHE / "against" / commit
    environment = folder / "venv"
    if (environment / ".stamp").exists():
        return environment
    tree = folder / "tree"
    git("worktree", "prune")
    git("worktree", "add", "--force", "--detach", str(tree), commit)
    try:
        return make_environment(environment, [f"{tree}[sklearn,xgboost,onnx]"], stamp=commit)
    finally:
        git("worktree", "remove", "--force", str(tree))


def main() -> int:
    """Runs the comparison; 130 after Ctrl-C, with the tables of what was measured."""
    options = parser("Compares this tree's Salver with another revision's.")
    options.add_argument("revision", nargs="?", default="HEAD")
    arguments = options.parse_args()
    commit = git("rev-parse", "--verify", f"{arguments.revision}^{{commit}}")
    before = salver(f"salver@{commit[:10]}", lambda: revision_environment(commit))
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
