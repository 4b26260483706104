"""What the control of the model repository takes with a request, over REST and gRPC alike. Pure.

A model is loaded from its own folder. A configuration or files that come with the request (Triton's
`config` and `file:...`) would be code that any caller may have run, so they are refused by name.
"""

from __future__ import annotations

from collections.abc import Collection

from salver.errors import InvalidInput


def check_load_parameters(names: Collection[str]) -> None:
    """Raises `InvalidInput` if a load is asked for with parameters."""
    if names:
        raise InvalidInput(
            f"load takes no parameters, got {min(names)[:40]!r}: a model is loaded from its own "
            "folder; change it there and load again"
        )
