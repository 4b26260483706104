"""Where the benchmark keeps what it makes: `.bench/` in the repository, ignored by git."""

from __future__ import annotations

from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
PEERS = BENCH / "peers"
CACHE = ROOT / ".bench"
ENVIRONMENTS = CACHE / "venvs"
MODELS = CACHE / "models"
RUNS = CACHE / "runs"
