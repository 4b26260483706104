"""The reason that uv gives, told on one line."""

from __future__ import annotations

import pytest

from salver.backends.environments.interpreters import is_python, is_too_old
from salver.backends.environments.solving import has_unneeded_gpu_code, overrides
from salver.backends.environments.uv import reason_in, without_credentials

FULL_DISK = """\
Resolved 7 packages in 12ms
error: Failed to install: orjson-3.13.0-cp311-manylinux_2_17_x86_64.whl (orjson==3.13.0)
  cause: Failed to copy to `/e/orjson.so`
  cause: No space left on device (os error 28)
"""
NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because scikit-learn==0.24.2 has no usable wheels and you require
         scikit-learn==0.24.2, we can conclude that your requirements are unsatisfiable.

hint: Wheels are required for `scikit-learn` because building from source is disabled
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            FULL_DISK,
            "Failed to install: orjson-3.13.0-cp311-manylinux_2_17_x86_64.whl (orjson==3.13.0); "
            "Failed to copy to `/e/orjson.so`; No space left on device (os error 28)",
        ),
        (
            NO_WHEEL,
            "Because scikit-learn==0.24.2 has no usable wheels and you require "
            "scikit-learn==0.24.2, there is no solution; hint: Wheels are required for "
            "`scikit-learn` because building from source is disabled",
        ),
        ("thread 'main' panicked\n  at x.rs\n", "thread 'main' panicked at x.rs"),
        ("", ""),
    ],
)
def test_causes_are_joined(text: str, reason: str) -> None:
    assert reason_in(text.splitlines()) == reason


def test_a_very_long_reason_is_cut() -> None:
    assert len(reason_in(["error: " + "x" * 5000])) == 600


def test_passwords_are_taken_out_of_urls() -> None:
    assert (
        without_credentials("at https://me:pw@host/a, http://b/") == "at https://host/a, http://b/"
    )


@pytest.mark.parametrize(
    ("lock", "is_unneeded"),
    [
        (("xgboost==2.1.0", "nvidia-nccl-cu12==2.32.3", "numpy==2.0"), True),
        (("xgboost==2.1.0", "nvidia-nccl-cu12==2.32.3", "torch==2.5"), False),
        (("nvidia-nccl-cu12==2.32.3",), False),
        (("xgboost==1.7.6",), False),
    ],
)
def test_the_gpu_library_is_kept_out_where_only_xgboost_asks_for_it(
    lock: tuple[str, ...], is_unneeded: bool
) -> None:
    assert has_unneeded_gpu_code(lock) is is_unneeded
    if is_unneeded:
        assert overrides(lock) == ("nvidia-nccl-cu12; python_version < '3'",)


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("3.11.7", "3.11", True),
        ("3.11.7", "3.11.2", True),
        ("3.11.7", "3.12", False),
        ("3.11.7", ">=3.9,<3.13", True),
        ("3.11.7", ">=3.12", False),
        ("3.11.7", "nonsense", False),
    ],
)
def test_a_python_fits_by_its_minor_version(version: str, wanted: str, fits: bool) -> None:
    assert is_python(version, wanted) is fits


def test_pythons_before_salvers_oldest_are_too_old() -> None:
    assert is_too_old("3.10.12")
    assert not is_too_old("3.11")
    assert not is_too_old(">=3.9")
