"""Imports TensorFlow as a server wants it: quiet, and as the backend of Keras.

To be imported for that alone, by a fork server or by the runtime: it sets variables of this
process before TensorFlow and Keras read them, since they do so once, when they are imported. That
starts no thread and touches no device, so workers may be forked afterwards.
"""

from __future__ import annotations

import importlib
import os

# Errors alone: what TensorFlow says of the processor is no news on each start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Whatever a user's own Keras is set to, it is TensorFlow that runs the model here.
os.environ["KERAS_BACKEND"] = "tensorflow"

tensorflow = importlib.import_module("tensorflow")
