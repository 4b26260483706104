"""transformers, told to stay offline before it reads how it is to behave.

A fork server imports this module, so that a worker need not spend the seconds itself.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
import transformers.modeling_utils
import transformers.models.auto.modeling_auto

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

__all__ = ["torch", "transformers"]
