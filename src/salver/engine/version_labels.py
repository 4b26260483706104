"""Labels of versions: names such as `stable` and `canary` that callers ask for, and that move.

A label is given by whoever declares the models, as a whole for each model. Refuses to know whether
a version is loaded: that is looked at before a label is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from salver.errors import InvalidInput


class VersionLabels:
    """The labels of all models."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, str]] = {}

    def of(self, name: str) -> Mapping[str, str]:
        """The model's labels, each with its version."""
        return self._labels.get(name, {})

    def assign(self, name: str, labels: Mapping[str, str]) -> None:
        """Replaces the labels of the model."""
        self._labels.pop(name, None)
        if labels:
            self._labels[name] = dict(labels)

    def version(self, name: str, label: str, versions: Sequence[str]) -> str:
        """The version that the label means: its own, else the one of `versions` so called.

        Raises `InvalidInput` for an unknown label, as TensorFlow Serving does.
        """
        labels = self.of(name)
        if label in labels:
            return labels[label]
        if label in versions:
            return label
        known = ", ".join(sorted(labels)) or "none yet"
        raise InvalidInput(
            f"model '{name}' has no version label '{label[:64]}': it has {known[:400]}; "
            f"give labels with HandleReloadConfigRequest"
        )
