"""What is asked of the solver, and the names of what comes out of it. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from salver.backends.environments.needs import WORKER_PACKAGES
from salver.errors import EnvironmentFailed
from salver.inference.requirements import Requirements

_FORMAT = "1"
"""Raised when environments made before must not be used any more."""
_GPU_CODE = re.compile(r"nvidia-nccl-[a-z0-9]+\Z")
_USERS_OF_GPU_CODE = frozenset({"torch", "jax", "cupy", "tensorflow", "vllm", "paddlepaddle-gpu"})


def refuse_unusable(requirements: Requirements) -> None:
    """Raises `EnvironmentFailed` for lines that are no packages of an index, all at once."""
    faults: list[str] = []
    for line in (*requirements.packages, *requirements.constraints):
        if line.startswith(("-", ".", "/")) or "://" in line:
            faults.append(f"'{line}' is no package of an index, and nothing else is installed")
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            reason = " ".join(str(error).split("\n")[0].split())
            faults.append(f"'{line}' cannot be read: {reason}")
            continue
        if requirement.url:
            faults.append(f"'{line}' names a URL, and only the package index is asked")
    if faults:
        source = requirements.origin or "the list of packages"
        raise EnvironmentFailed(f"{source}: {'; '.join(faults)}; correct it")


def requirement_lines(requirements: Requirements) -> tuple[str, ...]:
    """The model's packages and the worker's."""
    return (*requirements.packages, *WORKER_PACKAGES)


def key_of(requirements: Requirements) -> str:
    """The same for requirements that come to the same environment, whoever asks for them."""
    parts = (
        _FORMAT,
        sorted(requirements.packages),
        sorted(requirements.constraints),
        requirements.python,
        requirements.python_is_preferred,
        WORKER_PACKAGES,
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def digest_of(lock: Sequence[str], python: str) -> str:
    """The name of an environment: of its packages as solved and of its Python."""
    parts = (_FORMAT, sorted(lock), python)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def has_unneeded_gpu_code(lock: Iterable[str]) -> bool:
    """Whether XGBoost has brought the library for many GPUs, which prediction never uses."""
    names = {line.partition("==")[0] for line in lock}
    return (
        "xgboost" in names and any(map(_GPU_CODE.match, names)) and not names & _USERS_OF_GPU_CODE
    )


def overrides(lock: Iterable[str]) -> tuple[str, ...]:
    """Lines that keep the GPU code in `lock` out."""
    names = (line.partition("==")[0] for line in lock)
    return tuple(f"{name}; python_version < '3'" for name in names if _GPU_CODE.match(name))
