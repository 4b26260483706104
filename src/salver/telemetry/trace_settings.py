"""Which requests are traced to a file: the settings of Triton's trace extension.

Owns the settings, global and by model, and the sampling. A model's setting holds in place of the
global one until it is cleared, the global one in place of what the server began with. Pure but for
the counters of the samplers. Where traces are written is decided when the server starts: a caller
who may name a file could overwrite any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from salver.errors import InvalidInput, Unsupported

OFF, TIMESTAMPS, TENSORS = "OFF", "TIMESTAMPS", "TENSORS"
LEVELS = (OFF, TIMESTAMPS, TENSORS)
_NUMBERS = {
    "trace_rate": (0, 0xFFFF_FFFF),
    "trace_count": (-1, 0x7FFF_FFFF),
    "log_frequency": (0, 0xFFFF_FFFF),
}
_NAMES = ("trace_level", *_NUMBERS, "trace_file", "trace_mode")
_MODE = "triton"
_NUMBER = re.compile(r"-?[0-9]{1,12}", re.ASCII)

Wanted = Mapping[str, Sequence[str] | None]
"""Settings by their names on the wire, each with its values; None clears one."""


class TraceSettings(msgspec.Struct, frozen=True):
    """One request of `trace_rate` is traced, `trace_count` in all (-1: without end; `trace_rate` 0:
    none). `log_frequency` traces go into one file; 0: all into one."""

    trace_level: tuple[str, ...] = (OFF,)
    trace_rate: int = 1000
    trace_count: int = -1
    log_frequency: int = 0


class Sampler:
    """Counts the requests of one model, or of all that have no settings of their own."""

    def __init__(self, settings: TraceSettings, left: int) -> None:
        self.settings = settings
        self.left = left
        """Traces that are still to be collected; -1: without end."""
        self._seen = 0

    @property
    def is_on(self) -> bool:
        """Whether any further request can be traced."""
        settings = self.settings
        return settings.trace_level != (OFF,) and settings.trace_rate > 0 and self.left != 0

    def samples(self) -> bool:
        """Counts a request in; whether it is to be traced."""
        if not self.is_on:
            return False
        self._seen += 1
        if self._seen % self.settings.trace_rate:
            return False
        if self.left > 0:
            self.left -= 1
        return True


class TraceBook:
    """All settings. `file` is where traces go."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._default = TraceSettings()
        self._specified: dict[str, dict[str, object]] = {"": {}}
        """What was set, by model; "" has the global settings."""
        self._samplers = {"": Sampler(self._default, self._default.trace_count)}

    def sampler(self, model: str) -> Sampler:
        """The sampler of a model's requests."""
        return self._samplers.get(model) or self._samplers[""]

    def update(self, model: str, wanted: Wanted) -> None:
        """Sets and clears; `model` is empty for the global settings.

        Raises `InvalidInput` or `Unsupported`, and changes nothing then.
        """
        values = settings_in(wanted)
        if not values:
            return
        specified = {**self._specified.get(model, {}), **values}
        specified = {name: value for name, value in specified.items() if value is not None}
        if specified or not model:
            self._specified[model] = specified
        else:
            self._specified.pop(model, None)
            self._samplers.pop(model, None)
        for each in self._specified if not model else (model,):
            if each in self._specified:
                self._settle(each, begins_anew="trace_count" in values)

    def _settle(self, model: str, *, begins_anew: bool) -> None:
        fallback = self._samplers[""].settings if model else self._default
        settings = msgspec.structs.replace(fallback, **self._specified[model])
        former = self._samplers.get(model)
        left = settings.trace_count
        if former is not None and not begins_anew and former.settings.trace_count == left:
            left = former.left
        self._samplers[model] = Sampler(settings, left)

    def shown(self, model: str = "") -> dict[str, tuple[str, ...]]:
        """What holds for the model, by the names on the wire; `trace_count` is what is left."""
        sampler = self.sampler(model)
        settings = sampler.settings
        return {
            "trace_level": settings.trace_level,
            "trace_rate": (str(settings.trace_rate),),
            "trace_count": (str(sampler.left),),
            "log_frequency": (str(settings.log_frequency),),
            "trace_file": (self._file,),
            "trace_mode": (_MODE,),
        }


def settings_in(wanted: Wanted) -> dict[str, object]:
    """The values that are wanted, by the fields of `TraceSettings`; None where one is cleared.

    Raises `InvalidInput` for an unknown name and for a value that is none, and `Unsupported` for
    what cannot be changed while the server runs.
    """
    found: dict[str, object] = {}
    for name, values in wanted.items():
        if name not in _NAMES:
            raise InvalidInput(
                f"there is no trace setting {name[:40]!r}: use {', '.join(_NAMES[:-2])}"
            )
        if name == "trace_file":
            raise Unsupported(
                "trace file location can not be updated through network protocol: start the "
                "server with --trace-file"
            )
        if name == "trace_mode":
            if values is not None and tuple(values) != (_MODE,):
                raise Unsupported(
                    f"the trace mode here is '{_MODE}' and stays so: for OpenTelemetry start the "
                    "server with --otlp-endpoint"
                )
        elif values is None:
            found[name] = None
        elif name == "trace_level":
            found[name] = _levels(values)
        else:
            found[name] = _number(name, values)
    return found


def _levels(values: Sequence[str]) -> tuple[str, ...]:
    unknown = [value for value in values if value not in LEVELS]
    if unknown or not values:
        shown = f"{unknown[0][:40]!r}" if unknown else "empty"
        raise InvalidInput(f"'trace_level' is {shown}: give one or more of {', '.join(LEVELS)}")
    if OFF in values and len(set(values)) > 1:
        raise InvalidInput("Expect only one trace level 'OFF' is specified: leave out the others")
    return tuple(level for level in LEVELS if level in values)


def _number(name: str, values: Sequence[str]) -> int:
    least, most = _NUMBERS[name]
    if len(values) != 1:
        raise InvalidInput(f"expect only 1 value for '{name}': it has {len(values)}")
    if not _NUMBER.fullmatch(values[0]) or not least <= int(values[0]) <= most:
        raise InvalidInput(
            f"Unable to parse '{name}', got: {values[0][:40]!r}; give a number of {least} to {most}"
        )
    return int(values[0])
