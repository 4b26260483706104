"""What a SavedModel's file says before anything of it is run: is it whole, and what would it do.

Owns the refusals: variables that are missing, assets outside the folder, operators that read or
write files or need the Python program that saved them. Gets TensorFlow's messages parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from salver.errors import LoadFailed

_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
_FILES = frozenset(
    {
        *("ReadFile", "WriteFile", "MatchingFiles", "LMDBReader", "LMDBDataset", "SqlDataset"),
        *("WholeFileReader", "WholeFileReaderV2", "TextLineReader", "TextLineReaderV2"),
        *("TFRecordReader", "TFRecordReaderV2", "TFRecordDataset", "TFRecordDatasetV2"),
        *("FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TextLineDataset"),
        *("FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "LoadDataset"),
        *("SaveDataset", "SaveDatasetV2", "SnapshotDataset", "SnapshotDatasetV2", "CSVDataset"),
        *("DistributedSave", "SnapshotDatasetReader", "SnapshotNestedDatasetReader"),
        *("CSVDatasetV2", "MatchingFilesDataset", "ListSnapshotChunks"),
        *("CreateSummaryFileWriter", "CreateSummaryDbWriter", "ImportEvent"),
        *("DebugIdentity", "DebugIdentityV2", "DebugIdentityV3", "DebugNumericSummary"),
        *("DebugNanCount", "DebugNumericSummaryV2", "DataServiceDataset", "DataServiceDatasetV2"),
        *("DataServiceDatasetV3", "DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2"),
    }
)
"""Operators that read or write where they are told to, beside a model's own variables."""
_SAVING = frozenset({"SaveV2", "Save", "SaveSlices", "MergeV2Checkpoints"})
"""Part of how a model is saved again; nothing that answers a request may call them."""


def graph_with_tags(graphs: Sequence[Any], wanted: Sequence[str]) -> Any:
    """The graph to be served. Raises `LoadFailed` if no graph has the tags."""
    tags = set(wanted) or {"serve"}
    found = next((each for each in graphs if set(each.meta_info_def.tags) == tags), None)
    if found is None and not wanted and len(graphs) == 1:
        return graphs[0]
    if found is None:
        known = " or ".join(",".join(sorted(each.meta_info_def.tags)) or "none" for each in graphs)
        raise LoadFailed(
            f"no graph has the tags {','.join(sorted(tags))} (there are {known}); say which by "
            "the argument tags"
        )
    return found


def check_graph(graph: Any, folder: Path) -> None:
    """Raises `LoadFailed` for a graph that is not whole, or does more than calculate."""
    _check_variables(graph, folder)
    for asset in graph.asset_file_def:
        parts = PurePosixPath(asset.filename).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise LoadFailed(
                f"its asset {asset.filename!r} leads out of the folder; save the model again"
            )
    for where, node in _nodes(graph.graph_def):
        _check_operator(node, where)


def _check_variables(graph: Any, folder: Path) -> None:
    if not any(node.op in _VARIABLES for node in graph.graph_def.node):
        return
    variables = folder / "variables"
    has_data = any(variables.glob("variables.data-*"))
    if (variables / "variables.index").is_file() and has_data:
        return
    fact = "variables.data-*" if (variables / "variables.index").is_file() else "variables.index"
    raise LoadFailed(
        f"its variables are missing (there is no variables/{fact} beside saved_model.pb); copy "
        "the whole folder, or save the model again"
    )


def _nodes(graph_def: Any) -> Iterator[tuple[str, Any]]:
    """All nodes, with the function that each is in; empty for the graph's own."""
    for node in graph_def.node:
        yield "", node
    for function in graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def _check_operator(node: Any, where: str) -> None:
    operator = node.op
    if operator in _PYTHON:
        raise LoadFailed(
            f"it calls Python code by the operator {operator} (node {node.name!r}), which was not "
            "saved with it; write that part in TensorFlow, or serve it as a Python model"
        )
    if operator in _FILES or _prints_to_file(node):
        raise LoadFailed(
            f"it reads or writes files by the operator {operator} (node {node.name!r}), which no "
            "served model may; give it what it needs as inputs or assets"
        )
    if operator in _SAVING and where and not _is_saver(where):
        raise LoadFailed(
            f"it writes files by the operator {operator} in the function {where!r}, which no "
            "served model may; save it without that"
        )
    called = [name for name in _functions_of(node) if where and _is_saver(name)]
    if called:
        raise LoadFailed(
            f"its function {where!r} calls {called[0]!r}, which writes files; save it without that"
        )


def _prints_to_file(node: Any) -> bool:
    return node.op == "PrintV2" and b"file://" in node.attr["output_stream"].s


def _is_saver(function: str) -> bool:
    return "_traced_save" in function


def _functions_of(node: Any) -> Iterator[str]:
    """The functions that a node calls, whatever attribute names them."""
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            yield value.func.name
        elif kind == "list":
            yield from (each.name for each in value.list.func)
