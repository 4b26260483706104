"""The environment of TensorFlow Serving's client: its messages and stubs, without TensorFlow.

`tensorflow-serving-api` is installed without what it depends on, which is all of TensorFlow; the
few messages of TensorFlow's that it imports come from a package that has nothing else.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.own_environment import ROOT as ROOT
from tests.e2e.own_environment import own_environment

ALONE = ("tensorflow-protobuf==2.11.0", "tensorflow-serving-api==2.21.0")
"""Installed in this order, as both have `tensorflow_serving`: the second is to be the one used."""
REQUIREMENTS = ("protobuf>=6.31.1,<7", "grpcio>=1.74")


def tfserving_python() -> Path:
    """The interpreter of an environment with the client."""
    return own_environment("tfserving", REQUIREMENTS, *(("--no-deps", each) for each in ALONE))
