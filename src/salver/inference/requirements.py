"""The Python packages that a model needs, as a value. Refuses to know how they are found or
installed: `artifacts/requirements.py` reads them, `backends/environments/` installs them.
"""

from __future__ import annotations

import msgspec


class Requirements(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Python packages a model needs; nothing named means the server's own environment.

    `packages` are PEP 508 lines (`scikit-learn==1.3.2`), `python` a version (`3.12`) or empty,
    `origin` says for people where they come from (`runtimeVersion`, `requirements.txt`, ...).
    `constraints` only bound what the packages bring with them. With `python_is_preferred`
    another interpreter will do if the machine lacks that one. `notes` are for people: what was
    seen and had no effect.
    """

    packages: tuple[str, ...] = ()
    python: str = ""
    origin: str = ""
    constraints: tuple[str, ...] = ()
    python_is_preferred: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether the model needs an environment of its own."""
        return bool(self.packages or self.python)
