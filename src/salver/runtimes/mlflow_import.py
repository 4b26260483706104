"""Imports MLflow's pyfunc as a server wants it: silent, and knowing that it serves.

To be imported for that alone, by a fork server or by the runtime: it sets variables of this
process before MLflow reads them, since MLflow does so once, when it is imported.
"""

from __future__ import annotations

import importlib
import os

# Nobody is told what is served here; and its telemetry is a thread, which a fork server must not
# have.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Some flavours take their inputs otherwise when they are served.
os.environ.setdefault("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")

pyfunc = importlib.import_module("mlflow.pyfunc")
