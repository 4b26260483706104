"""The differences between Salver and tritonserver 2.51.0 that are known, by name.

Each name has a row in docs/triton-differences.md, which says why. One that no longer occurs has to
go from both.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.e2e.peer_comparing import ABSENT, Known


def _status(name: str, label: str, change: str, triton_says: str = "*", salver: str = "*") -> Known:
    """A difference in the status or code: `change` is `TRITON>SALVER`, `salver` what it says."""
    before, after = change.split(">")
    place = "status" if after.isdecimal() else "code"
    return Known(name, label, place, before, after, triton_says, salver)


def _mistakes() -> Iterator[Known]:
    """Where both refuse, and Triton says that it was its own fault."""
    name = "mistakes are the caller's"
    for words in (
        "Unable to *",
        "failed to parse the request JSON*",
        "failed to get request params*",
        "attempt to access JSON*",
    ):
        yield _status(name, "http/*", "500>400", words)
    yield _status(name, "grpc/route/no message", "INTERNAL>INVALID_ARGUMENT")
    yield _status("unknown codings", "http/wire/*/badly_compressed", "501>415")


def _names() -> Iterator[Known]:
    """Models and versions that are not there."""
    missing = "what is not there"
    yield _status(missing, "http/*/stats", "400>404")
    yield _status(missing, "http/*/ready", "400>404")
    yield _status(missing, "grpc/*/ModelStatistics", "INVALID_ARGUMENT>NOT_FOUND")
    yield _status(
        missing, "grpc/*", "INVALID_ARGUMENT>NOT_FOUND", "*version should be an integral*"
    )
    yield _status(missing, "grpc/*/ModelReady", "OK>NOT_FOUND")
    yield _status("loading what is not there", "http/control/load nobody", "500>404")
    yield _status("loading what is not there", "grpc/*/RepositoryModelLoad", "INTERNAL>NOT_FOUND")
    yield _status("unloading what is not there", "http/control/unload nobody", "200>404")
    yield _status("unloading what is not there", "grpc/*/RepositoryModelUnload", "OK>NOT_FOUND")
    yield _status("unloaded models", "http/control/*", "404>503")
    yield _status("unloaded models", "http/control/ready", "400>503")
    yield _status("versions by their digits", "grpc/*/some_version", "OK>NOT_FOUND")
    yield _status("versions by their digits", "http/*/some_version", "200>404")
    yield _status(missing, "http/*/some_version", "400>404", "*version should be an integral*")
    yield _status("the list of models", "http/route/v2/models", "404>200")
    for change in ("405>400", "404>405", "404>200"):
        yield _status("paths", "http/wire/*/odd_path", change)


def _stricter() -> Iterator[Known]:
    """What Triton answers and Salver refuses."""
    yield _status("the index's body", "http/index/[[]]", "200>400")
    for how, name in (
        ("ragged_data", "rows of unequal length"),
        ("trailing", "a NUL behind the JSON"),
        ("no_json", "an empty body"),
        ("badly_compressed", "bodies that cannot be unpacked"),
        ("vast_shape", "shapes that overflow"),
        ("odd_element", "numbers out of range"),
        ("wrong_length", "header lengths that are no number"),
    ):
        yield _status(name, f"http/wire/*/{how}", "[25]00>400")
    rows = "*has an array as value*"
    yield _status("rows of unequal length", "http/wire/*/wrong_input_kind", "200>400", "*", rows)
    yield _status("parameters that are no object", "http/wire/*/wrong_input_kind", "200>400")
    yield _status("shapes that overflow", "grpc/*/negative_size", "OK>INVALID_ARGUMENT")
    yield _status("more raw contents than inputs", "grpc/wire/*/more_raws", "*>INVALID_ARGUMENT")
    yield _status("no inputs", "http/*/types/*", "200>400", "*", "*has no inputs*")
    yield _status("no inputs", "grpc/*/types/*", "OK>INVALID_ARGUMENT", "*", "*has no inputs*")
    yield _status("missing inputs beside optional ones", "http/*/missing_input", "500>400")
    optional = "missing inputs beside optional ones"
    yield _status(optional, "grpc/*/missing_input", "INTERNAL>INVALID_ARGUMENT")
    yield _status("sequences called by a text", "http/sequence/13", "200>400")
    yield _status("sequences called by a text", "grpc/sequence/13", "OK>INVALID_ARGUMENT")
    for label, change in (("http/*", "*>500"), ("grpc/*", "*>INTERNAL")):
        says = "*its response lacks the output*"
        yield _status("outputs that the model does not give", label, change, salver=says)


def _more() -> Iterator[Known]:
    """What Triton refuses and Salver answers."""
    yield _status("decoupled models with one response", "http/stream/decoupled", "501>200")
    yield _status("decoupled models with one response", "grpc/stream/decoupled", "UNIMPLEMENTED>OK")
    yield _status("FP16 in JSON", "http/*", "400>200", "receiving FP16 data via JSON*")
    yield _status(
        "parameters that are objects", "http/*", "400>200", "parameter '*' has invalid type*"
    )
    yield _status("raw bodies", "http/wire/*/raw_body", "400>200")
    yield _status("raw bodies", "http/wire/*/wrong_length", "400>200")
    yield _status("texts in one piece", "http/json/texts/short_data", "400>200")
    yield _status("raw bodies", "http/wire/*/raw_body", "200>400")
    yield _status("null", "http/*/wrong_kind", "500>200", "Unable to parse '*'*")
    yield _status("null", "http/*/wrong_kind", "500>200", "failed to get request params*")
    yield _status("null", "http/*/odd_element", "500>200", "Unable to parse 'data'*")
    for label, change in (("http/*", "400>200"), ("grpc/*", "INVALID_ARGUMENT>OK")):
        yield _status(
            "an output asked for twice", label, change, "in ensemble * unexpected deadlock*"
        )
    scheduling = "scheduling parameters where nothing is scheduled"
    yield _status(scheduling, "http/*/wrong_parameters", "500>200", "Unable to parse *")
    yield _status(scheduling, "grpc/*/wrong_parameters", "INVALID_ARGUMENT>OK", "invalid value*")
    yield _status(scheduling, "grpc/*/faults/wrong_parameters", "INVALID_ARGUMENT>INTERNAL")
    reserved = "parameters called triton_"
    yield _status(reserved, "http/*/wrong_parameters", "400>200", "parameter keys starting*")
    yield _status(reserved, "grpc/*/wrong_parameters", "*>OK", "parameter keys starting*")


def _models() -> Iterator[Known]:
    """What models may do that tritonserver 2.51.0 does not know yet."""
    name, says = "codes of TritonError", "*incompatible constructor arguments*TritonError*"
    for change in ("500>400", "500>404", "500>503", "500>501"):
        yield _status(name, "http/*", change, says)
    for code in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "UNIMPLEMENTED"):
        yield _status(name, "grpc/*", f"INTERNAL>{code}", says)


def _bodies() -> Iterator[Known]:
    """Answers that differ in more than their status."""
    for field in ("name", "version", "extensions"):
        yield Known("the server's name", "*", f"answer.{field}", "*", "*", "", "")
    for label in ("http/*/ready", "http/route/v2/health/*", "http/control/*"):
        yield Known("bodies of short answers", label, "answer", ABSENT)
    for label in ("http/route/*/metadata", "http/version/*/metadata"):
        yield Known("more metadata", label, "answer*.parameters", ABSENT)
    yield Known("all versions", "grpc/version/*/ModelMetadata", "answer.versions")
    yield Known("unknown methods say so", "grpc/route/nothing", "error", "no text")
    yield Known(
        "numbers that JSON has not", "http/*faults/*", "answer.outputs*.data", "*", "*null*"
    )
    digits = "http/json/fixed/digits"
    yield Known("the last bits of FP64 in JSON", digits, "answer.outputs*.data")
    yield Known("an empty id", "http/*/some_id", "answer.id", ABSENT, "")
    yield Known(
        "short answers are not packed", "http/wire/*/wants_compressed", "headers.*", "*", ABSENT
    )


def _ensembles() -> Iterator[Known]:
    """An ensemble is a graph here."""
    name = "ensembles are graphs"
    yield _status(name, "http/*/both/extra_input", "400>200")
    yield _status(name, "grpc/*/both/extra_input", "INVALID_ARGUMENT>OK")
    yield _status(name, "http/*both/stats", "200>501")
    yield Known(name, "grpc/route/both/ModelStatistics", "answer.model_stats")
    yield Known(name, "http/route/v2/models/stats", "answer.model_stats")
    yield Known(name, "grpc/route//ModelStatistics", "answer.model_stats")
    yield Known(name, "*/both/*", "answer.platform", "ensemble")
    yield Known(name, "*/both/*", "answer.model_version", "1")
    yield Known(name, "*/both/*", "answer.parameters*", "*", ABSENT)
    yield Known(name, "*/both/ModelConfig", "answer.config*")
    yield Known(name, "*/both/config", "answer*")


def _configurations() -> Iterator[Known]:
    """What of a model's configuration is told."""
    name = "configurations leave out what has no effect"
    for label in ("http/*/config", "grpc/*/ModelConfig"):
        yield Known(name, label, "answer*", "*", ABSENT)
        yield Known("names of instance groups", label, "answer*.instance_group*.name")
        yield Known("preferred batch sizes", label, "answer*.preferred_batch_size")


KNOWN: tuple[Known, ...] = (
    *_models(),
    *_more(),
    *_mistakes(),
    *_names(),
    *_stricter(),
    *_ensembles(),
    *_configurations(),
    *_bodies(),
)
"""The first that fits a difference is its reason."""
