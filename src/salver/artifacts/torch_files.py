"""Which of PyTorch's formats a file or folder is in, for `recognise.py`.

Reads the first bytes and the zip's directory only; runs and unpickles nothing. The
signatures are `inference/torch_archives.py`'s, which the runtime asks too.
"""

from __future__ import annotations

from salver.inference.torch_archives import TorchFormat, torch_format

__all__ = ["TorchFormat", "torch_format"]
