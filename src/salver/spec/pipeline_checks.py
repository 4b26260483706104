"""What contradicts what within a Seldon v2 Pipeline: names, syntax, cycles, what can never run.

Pure: a typed Pipeline in, findings with their YAML paths and the path in the graph out. Whether
the Models are there, and their tensors fit, is known only later (`graphs/edge_types.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence

from salver.spec.problems import Finding, Path, quoted
from salver.spec.seldon_v2_pipeline import (
    EXTERNAL_SYNTAX,
    SYNTAX,
    JoinType,
    Pipeline,
    PipelineInput,
    PipelineStep,
    Source,
    read_external,
    read_source,
)
from salver.spec.steps import count_fault, known_text, served_name_fault, way_text


def check_pipeline(pipeline: Pipeline) -> Iterator[Finding]:
    """All contradictions of a Pipeline."""
    steps = pipeline.spec.steps
    if not steps:
        yield ("spec", "steps"), "is required: the Models that the pipeline is made of"
    if message := count_fault(len(steps)):
        yield ("spec", "steps"), message
        return
    found = [*_check_names(pipeline)]
    yield from found
    reader = _Reader(pipeline)
    for number, step in enumerate(steps):
        yield from reader.check_step(step, ("spec", "steps", number))
    yield from reader.check_output()
    if pipeline.spec.input is not None:
        yield from _check_input(pipeline.spec.input, pipeline.metadata.name)
    if not found and not reader.has_faults:
        yield from _check_order(pipeline, reader.waits)


def _check_names(pipeline: Pipeline) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for number, step in enumerate(pipeline.spec.steps):
        path: Path = ("spec", "steps", number, "name")
        if not step.name:
            yield path, "must not be empty: the Model's name"
        elif fault := served_name_fault(step.name):
            yield path, fault
        elif step.name == pipeline.metadata.name:
            yield (
                path,
                f"{quoted(step.name)} is the pipeline itself: give the pipeline another name, "
                "or its inputs and the step's could not be told apart",
            )
        elif step.name in seen:
            first = seen[step.name]
            yield path, f"{quoted(step.name)} is a step already, spec.steps[{first}]"
        seen.setdefault(step.name, number)


class Waits:
    """What one step waits for, by name; the pipeline's own data is not in it."""

    __slots__ = ("inputs", "join", "triggers", "triggers_join")

    def __init__(self, step: PipelineStep) -> None:
        self.inputs: list[str] = []
        self.triggers: list[str] = []
        self.join: JoinType = step.inputs_join_type or "inner"
        self.triggers_join: JoinType = step.triggers_join_type or "inner"

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each for each in (*self.inputs, *self.triggers) if each))


class _Reader:
    """Reads the sources of one pipeline's steps and output, and keeps who waits for whom."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._names = tuple(step.name for step in pipeline.spec.steps)
        self.waits: dict[str, Waits] = {}
        self.has_faults = False

    def check_step(self, step: PipelineStep, path: Path) -> Iterator[Finding]:
        waits = self.waits[step.name] = Waits(step)
        sources = yield from self._sources(step.inputs, (*path, "inputs"))
        triggers = yield from self._sources(step.triggers, (*path, "triggers"))
        waits.inputs = [each.step for each in sources]
        waits.triggers = [each.step for each in triggers]
        if not step.inputs:
            own = read_source(f"{self._pipeline.metadata.name}.inputs", *self._scope)
            sources = [own] if isinstance(own, Source) else []
        yield from self._check_map(step.tensor_map, sources, (*path, "tensorMap"))
        yield from _check_tensor_names(step, sources, path)

    def check_output(self) -> Iterator[Finding]:
        output = self._pipeline.spec.output
        if output is None:
            return
        path: Path = ("spec", "output")
        if not output.steps:
            yield (*path, "steps"), "is required: the steps whose answers the caller gets"
        sources = yield from self._sources(output.steps, (*path, "steps"))
        for number, text in enumerate(output.steps):
            read = read_source(text, *self._scope)
            if isinstance(read, Source) and not read.step:
                yield (
                    (*path, "steps", number),
                    "is what the pipeline was given: name a step whose answer the caller gets",
                )
        yield from self._check_map(output.tensor_map, sources, (*path, "tensorMap"))

    @property
    def _scope(self) -> tuple[str, Sequence[str]]:
        return self._pipeline.metadata.name, self._names

    def _sources(self, texts: Sequence[str], path: Path) -> Generator[Finding, None, list[Source]]:
        found: list[Source] = []
        for number, text in enumerate(texts):
            read = read_source(text, *self._scope)
            if isinstance(read, str):
                self.has_faults = True
                yield (*path, number), read
            elif read in found:
                yield (*path, number), f"{quoted(text)} is there already; remove one of the two"
            else:
                found.append(read)
        return found

    def _check_map(
        self, names: Mapping[str, str], sources: Sequence[Source], path: Path
    ) -> Iterator[Finding]:
        for key, name in names.items():
            read = read_source(key, *self._scope)
            if isinstance(read, str):
                yield (*path, key), read
            elif not read.tensor:
                yield (*path, key), f"names no tensor: write {SYNTAX}"
            elif not (self.has_faults or any(_holds(each, read) for each in sources)):
                given = known_text([each.text for each in sources]) or "nothing"
                yield (*path, key), f"is no input here; the inputs are {given}"
            if not name:
                yield (*path, key), "must not be empty: the tensor's new name"


def _holds(source: Source, named: Source) -> bool:
    return source.text == named.text and source.tensor in ("", named.tensor)


def _check_tensor_names(
    step: PipelineStep, sources: Sequence[Source], path: Path
) -> Iterator[Finding]:
    """Two tensors of one name cannot both be given to a Model, unless only one of them comes."""
    if step.inputs_join_type == "any":
        return
    taken: dict[str, str] = {}
    for source in sources:
        if source.tensor:
            text = f"{source.text}.{source.tensor}"
            name = step.tensor_map.get(text, source.tensor)
            other = taken.setdefault(name, text)
            if other != text:
                yield (
                    (*path, "inputs"),
                    f"{other} and {text} would both be called {quoted(name)}: rename one in "
                    "tensorMap",
                )


def _check_input(given: PipelineInput, name: str) -> Iterator[Finding]:
    path: Path = ("spec", "input")
    if not given.external_inputs and not given.external_triggers:
        yield (*path, "externalInputs"), "is required: the pipelines whose data it takes"
    elif not given.external_inputs:
        yield (*path, "externalInputs"), "is required: triggers alone give the pipeline no data"
    known: list[tuple[str, str]] = []
    for field, texts in (
        ("externalInputs", given.external_inputs),
        ("externalTriggers", given.external_triggers),
    ):
        for number, text in enumerate(texts):
            read = read_external(text)
            if isinstance(read, str):
                yield (*path, field, number), read
            elif read.graph == name:
                yield (*path, field, number), f"{quoted(text)} is this pipeline's own data"
            elif field == "externalInputs":
                known.append((read.text, read.tensor))
    for key in given.tensor_map:
        read = read_external(key)
        if isinstance(read, str) or not read.tensor:
            yield (*path, "tensorMap", key), f"cannot be read: write {EXTERNAL_SYNTAX}"
        elif known and not any(
            text == read.text and tensor in ("", read.tensor) for text, tensor in known
        ):
            shown = known_text([text for text, _ in known])
            yield (*path, "tensorMap", key), f"is none of the externalInputs, which are {shown}"


def _check_order(pipeline: Pipeline, waits: Mapping[str, Waits]) -> Iterator[Finding]:
    cycle = find_cycle({name: each.all for name, each in waits.items()})
    if cycle and not pipeline.spec.allow_cycles:
        shown = way_text(cycle)
        number = [step.name for step in pipeline.spec.steps].index(cycle[0])
        yield (
            ("spec", "steps", number, "inputs"),
            f"the steps wait for each other: {shown}; break the cycle, or set spec.allowCycles",
        )
        return
    runnable = _runnable(waits)
    for number, step in enumerate(pipeline.spec.steps):
        if step.name not in runnable:
            stuck = next(each for each in waits[step.name].all if each not in runnable)
            way = way_text([*_way_back(stuck, step.name, waits, runnable)])
            yield (
                ("spec", "steps", number),
                f"step {quoted(step.name)} can never run: it waits for {way}, and nothing begins "
                "there; give one of them inputsJoinType any and an input from outside of the cycle",
            )


def find_cycle(waits: Mapping[str, Sequence[str]]) -> list[str]:
    """A cycle in the direction in which data goes, its first name repeated at the end."""
    done: set[str] = set()
    for start in waits:
        way: list[str] = []
        todo: list[tuple[str, int]] = [(start, 0)]
        while todo:
            name, at = todo.pop()
            if at == 0:
                if name in way:
                    found = [*way[way.index(name) :], name]
                    return found[::-1]
                if name in done:
                    continue
                way.append(name)
            sources = waits.get(name, ())
            if at < len(sources):
                todo += [(name, at + 1), (sources[at], 0)]
            else:
                done.add(name)
                way.remove(name)
    return []


def _runnable(waits: Mapping[str, Waits]) -> set[str]:
    """The steps that can run at least once: from the request on, as far as joins let data go."""
    found: set[str] = set()
    while True:
        more = {
            name
            for name, each in waits.items()
            if name not in found
            and _can_begin(each.inputs, each.join, found)
            and _can_begin(each.triggers, each.triggers_join, found)
        }
        if not more:
            return found
        found |= more


def _can_begin(sources: Sequence[str], join: JoinType, found: set[str]) -> bool:
    there = [not each or each in found for each in sources]
    return not there or (all(there) if join == "inner" else any(there))


def _way_back(
    start: str, end: str, waits: Mapping[str, Waits], runnable: set[str]
) -> Iterator[str]:
    """From what a step waits for, along what that waits for, until it comes to an end."""
    seen = {end}
    name = start
    while name not in seen:
        yield name
        seen.add(name)
        stuck = [each for each in waits[name].all if each not in runnable]
        name = stuck[0] if stuck else name
    yield name
