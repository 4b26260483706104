"""Topics by model: patterns such as `salver.infer.{model}`, and what names fit into them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

MODEL = "{model}"
NATS_NAME = re.compile(r"(?!\.)(?!.*\.\.)[^\s*>\x00-\x1f\x7f]+(?<!\.)")
"""A model's name that can be part of a subject: no spaces, no wildcards, no empty tokens."""
KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]+")
MOST_MODELS = 1000
"""Models with topics of their own. Whoever has more of them uses one topic, and a header."""


class TopicNames(msgspec.Struct, frozen=True):
    """The topics of one server. In each of them `{model}` stands for the model's name."""

    input: str
    output: str
    dead_letters: str
    """Empty: messages that are given up are dropped, and counted."""

    @property
    def is_per_model(self) -> bool:
        """Whether a message's topic says which model it is for."""
        return MODEL in self.input


def filled(pattern: str, model: str) -> str:
    """The topic of that model."""
    return pattern.replace(MODEL, model)


def any_model(pattern: str) -> str:
    """The NATS subject that stands for those of all models."""
    return pattern.replace(MODEL, ">" if pattern.endswith("." + MODEL) else "*")


def input_topics(
    names: TopicNames, models: Iterable[str], fits: re.Pattern[str]
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The topics to listen on, each with its model (empty: a header says which), and those models
    that have none, since their name fits into none or there are too many of them."""
    if not names.is_per_model:
        return {names.input: ""}, ()
    known = sorted(set(models))
    fitting = [name for name in known if fits.fullmatch(name)]
    chosen = fitting[:MOST_MODELS]
    left = tuple(name for name in known if name not in set(chosen))
    return {filled(names.input, name): name for name in chosen}, left


def pattern_problem(pattern: str, fits: re.Pattern[str]) -> str:
    """Why it cannot be a topic; empty if it can."""
    if pattern.count(MODEL) > 1 or not fits.fullmatch(filled(pattern, "m")):
        return f"'{pattern}' is no topic: write one such as salver.infer.{MODEL}"
    return ""
