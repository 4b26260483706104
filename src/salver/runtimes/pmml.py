"""PMML documents: by a reader of our own, or by pypmml on the JVM.

Owns the choice between them and the form of rows and answers. The own reader
(`pmml_reader/`) knows regressions, trees, ensembles and chains of them, general regressions and
scorecards; what it does not know it names, and pypmml may be used instead.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence

import numpy as np

from salver.errors import InvalidInput, LoadFailed
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, tensor_from_array
from salver.runtimes.loading import load_failures
from salver.runtimes.pmml_columns import columns_of_request, first_row, input_metadata
from salver.runtimes.pmml_jvm import load_on_jvm
from salver.runtimes.pmml_reader.document import BadDocument, Element, Unsupported, parse
from salver.runtimes.pmml_reader.models import Document, document_of
from salver.runtimes.pmml_reader.results import Result
from salver.runtimes.pmml_reader.values import NUMBERS, Table, is_text, numbers
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import named_outputs, refused_by

_ENGINES = ("auto", "own", "jvm")
_PREDICT, _PROBABILITY = "predict", "probability"


class PmmlRuntime:
    """Loads documents with no framework at all; with the installed pypmml where that is needed."""

    name = "pmml"
    framework = "pypmml"
    preload: tuple[str, ...] = ()

    def load(self, source: ModelSource) -> LoadedModel:
        engine = source.parameters.get("engine", "auto")
        if engine not in _ENGINES:
            raise LoadFailed(
                f"model '{source.name}': engine is {engine!r}; give {', '.join(_ENGINES)}"
            )
        with load_failures(source, "the PMML reader"):
            # Also before the JVM sees it: its parser would follow what a DTD says.
            with source.path.open("rb") as file:
                root = parse(file)
        if engine == "jvm":
            return load_on_jvm(source)
        try:
            return _own(source, root)
        except Unsupported as error:
            if engine == "auto" and _has_jvm():
                return load_on_jvm(source)
            raise LoadFailed(
                f"model '{source.name}': {source.path}: {error}, which Salver's own reader does "
                "not know; to have it scored on the JVM, install Java and run: pip install "
                "'salver[pmml]'"
            ) from error


def _has_jvm() -> bool:
    return shutil.which("java") is not None and importlib.util.find_spec("pypmml") is not None


def _own(source: ModelSource, root: Element) -> PmmlModel:
    """Raises `Unsupported`, which may have a way out, and `LoadFailed`."""
    with load_failures(source, "the PMML reader"):
        try:
            return PmmlModel(document_of(root))
        except Unsupported as error:
            unknown = error
    raise unknown


class PmmlModel:
    """A document in memory."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._classes = document.classes
        self._finals = [each.name for each in document.outputs if each.is_final]
        self._metadata = self._described()

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        metadata = self._metadata
        known = [each.name for each in metadata.outputs]
        wanted = named_outputs(request, metadata.default_outputs, known)
        columns = columns_of_request(request, self._document.inputs)
        try:
            found = self._answers(columns, wanted)
        except (ValueError, TypeError, BadDocument) as error:
            raise refused_by("The PMML reader", error) from error
        return InferResponse(tuple(tensor_from_array(name, found[name]) for name in wanted))

    def unload(self) -> None:
        """The document frees itself."""

    def _answers(self, columns: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
        rows = len(next(iter(columns.values()))) if columns else 1
        with np.errstate(all="ignore"):
            result, outputs = self._document.score(Table(rows, columns))
        found: dict[str, Array] = {}
        for name in wanted:
            if name in outputs:
                found[name] = _carried(outputs[name])
            elif name == _PREDICT:
                found[name] = self._prediction(result)
            else:
                missing = np.full(rows, np.nan)
                shares = [result.probabilities.get(each, missing) for each in self._classes]
                found[name] = np.column_stack(shares)
        return found

    def _prediction(self, result: Result) -> Array:
        """Classes that are numbers in the document are numbers."""
        target = self._document.target
        if is_text(result.value) and target is not None and target.datatype in NUMBERS:
            values = numbers(result.value)
            whole = target.datatype == "integer" and not np.isnan(values).any()
            return values.astype(np.int64) if whole else values
        return _carried(result.value)

    def _described(self) -> ModelMetadata:
        document = self._document
        names = tuple(each.name for each in document.inputs)
        outputs = self._learnt()
        by_column = any(each.is_text for each in document.inputs)
        return ModelMetadata(
            platform="pmml",
            inputs=input_metadata(document.inputs),
            outputs=outputs,
            default_outputs=tuple(self._finals) or (_PREDICT,),
            column_names=names,
            column_datatypes=tuple("BYTES" if e.is_text else "FP64" for e in document.inputs),
            positional_input=not by_column,
            framework_version=f"PMML {document.version}",
        )

    def _learnt(self) -> tuple[TensorMetadata, ...]:
        """The outputs' datatypes, from one made-up row; classes from it where none are listed."""
        row = first_row(self._document.inputs)
        names = [_PREDICT, *(each for each in self._finals if each != _PREDICT)]
        try:
            with np.errstate(all="ignore"):
                result, _ = self._document.score(Table(1, row))
            self._classes = self._classes or tuple(result.probabilities)
            found = self._answers(row, names)
        except InvalidInput:
            return tuple(TensorMetadata(each, "FP64", (-1,), any_shape=True) for each in names)
        outputs = [
            TensorMetadata(name, tensor_from_array(name, column).datatype, (-1,))
            for name, column in found.items()
        ]
        if self._classes and _PROBABILITY not in names:
            shape = (-1, len(self._classes))
            outputs.append(TensorMetadata(_PROBABILITY, "FP64", shape, labels=self._classes))
        return tuple(outputs)


def _carried(column: Array) -> Array:
    """A missing text is an empty one."""
    if not is_text(column):
        return column.astype(np.float64, copy=False)
    answer = np.empty(len(column), dtype=np.object_)
    answer[:] = ["" if each is None else each for each in column.tolist()]
    return answer
