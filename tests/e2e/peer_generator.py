"""The thousand requests: made from a seed, the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from tritonclient.grpc import service_pb2

from tests.e2e import peer_mutations, peer_valid, peer_wire, peer_wire_grpc
from tests.e2e.peer_requests import (
    Case,
    Given,
    GrpcCase,
    HttpCase,
    Infer,
    Wanted,
    binary_case,
    grpc_case,
    json_case,
    stream_case,
)

TOTAL = 1000
MODELS = (*peer_valid.VALID, "many")


def cases(seed: int, total: int = TOTAL) -> list[Case]:
    """So many requests: what there is one of each of, then generated ones up to the total."""
    chance = random.Random(seed)
    found: list[Case] = [
        *_routes(),
        *_grpc_routes(),
        *_sequences(),
        *_faults(),
        *_streams(),
        *_apart(),
    ]
    generated = _generated(chance)
    while len(found) < total:
        found.append(next(generated))
    return found[:total]


def _generated(chance: random.Random) -> Iterator[Case]:
    while True:
        for mutation in peer_mutations.MUTATIONS:
            for form in ("json", "binary", "grpc", "contents"):
                yield _mutated(mutation, form, chance)
        for how in peer_wire.HTTP_MUTATIONS:
            for _ in range(3):
                infer = _valid(chance)
                yield how(f"http/wire/{infer.model}/{how.__name__}", infer, chance)
        for called in peer_wire_grpc.GRPC_MUTATIONS:
            for _ in range(3):
                infer = _valid(chance)
                yield called(f"grpc/wire/{infer.model}/{called.__name__}", infer, chance)


def _valid(chance: random.Random) -> Infer:
    return peer_valid.VALID[chance.choice(list(peer_valid.VALID))](chance)


def _mutated(mutation: peer_mutations.Mutation, form: str, chance: random.Random) -> Case:
    infer = _valid(chance)
    changed = mutation(infer, chance)
    how = f"{infer.model}/{mutation.__name__}"
    if form == "json":
        return json_case(f"http/json/{how}", changed)
    if form == "binary":
        return binary_case(f"http/binary/{how}", changed)
    return grpc_case(f"grpc/{form}/{how}", changed, raw=form == "grpc")


def _routes() -> Iterator[HttpCase]:
    """Everything that is not inference."""
    for path in ("/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/health/other"):
        yield HttpCase(f"http/route{path}", "GET", path)
    for name in (*MODELS, "nobody"):
        for what in ("", "/config", "/stats", "/ready"):
            path = f"/v2/models/{name}{what}"
            yield HttpCase(f"http/route/{name}{what or '/metadata'}", "GET", path)
    for version in ("1", "2", "3", "9", "x"):
        for what in ("", "/config", "/stats", "/ready"):
            path = f"/v2/models/fixed/versions/{version}{what}"
            yield HttpCase(f"http/version/{version}{what or '/metadata'}", "GET", path)
    for path in (
        "/v2/models/stats",
        "/v2/models",
        "/v2/nothing",
        "/nothing",
        "/v3",
        "/v2/repository",
    ):
        yield HttpCase(f"http/route{path}", "GET", path)
    for body in (b"", b"{}", b'{"ready": true}', b'{"ready": false}', b'{"ready": 1}', b"[", b"[]"):
        yield HttpCase("http/index/" + body.decode(), "POST", "/v2/repository/index", body)
    for name in ("add", "nobody", "both"):
        for what in ("/config", "/stats", "/ready", ""):
            label = f"http/post/{name}{what or '/metadata'}"
            yield HttpCase(label, "POST", f"/v2/models/{name}{what}", b"{}")
    yield HttpCase("http/get/index", "GET", "/v2/repository/index")
    yield from _control()


def _control() -> Iterator[HttpCase]:
    """Models are unloaded, asked, and loaded again."""
    base = "/v2/repository/models"
    asked = json_case("http/control/ask", Infer("says", (Given("X", "INT32", (1,), [3]),)))
    yield HttpCase("http/control/unload", "POST", f"{base}/says/unload", b"{}")
    yield asked
    yield HttpCase("http/control/ready", "GET", "/v2/models/says/ready")
    yield HttpCase("http/control/metadata", "GET", "/v2/models/says")
    yield HttpCase("http/control/index", "POST", "/v2/repository/index", b'{"ready": true}')
    yield HttpCase("http/control/unload again", "POST", f"{base}/says/unload", b"")
    yield HttpCase("http/control/load", "POST", f"{base}/says/load", b"")
    yield asked
    yield HttpCase("http/control/load nobody", "POST", f"{base}/nobody/load", b"{}")
    yield HttpCase("http/control/unload nobody", "POST", f"{base}/nobody/unload", b"{}")
    yield HttpCase("http/control/get", "GET", f"{base}/says/load")
    yield HttpCase("http/control/no json", "POST", f"{base}/says/load", b"{")


def _grpc_routes() -> Iterator[GrpcCase]:
    empty: tuple[tuple[str, str], ...] = (
        ("ServerLive", "ServerLiveRequest"),
        ("ServerReady", "ServerReadyRequest"),
        ("ServerMetadata", "ServerMetadataRequest"),
        ("RepositoryIndex", "RepositoryIndexRequest"),
    )
    for call, kind in empty:
        message = getattr(service_pb2, kind)().SerializeToString()
        yield GrpcCase(f"grpc/route/{call}", call, (message,))
    for name in (*MODELS, "nobody", ""):
        for call in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
            message = getattr(service_pb2, f"{call}Request")(name=name).SerializeToString()
            yield GrpcCase(f"grpc/route/{name}/{call}", call, (message,))
    for version in ("1", "2", "9", "x"):
        for call in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
            request = getattr(service_pb2, f"{call}Request")(name="fixed", version=version)
            yield GrpcCase(f"grpc/version/{version}/{call}", call, (request.SerializeToString(),))
    for call in ("RepositoryModelLoad", "RepositoryModelUnload"):
        message = getattr(service_pb2, f"{call}Request")(model_name="nobody").SerializeToString()
        yield GrpcCase(f"grpc/route/nobody/{call}", call, (message,))
    yield GrpcCase("grpc/route/nothing", "Nothing", (b"",))
    yield GrpcCase("grpc/route/no message", "ModelInfer", (b"\xff\xff\xff",))
    yield GrpcCase("grpc/route/no message", "ModelMetadata", (b"\xff\xff\xff",))


def _sequence(number: object, value: int, start: bool = False, end: bool = False) -> Infer:
    flags = {"sequence_id": number, "sequence_start": start, "sequence_end": end}
    return Infer("sequence", (Given("X", "INT32", (1,), [value]),), parameters=flags)


def _sequences() -> Iterator[Case]:
    steps = [
        _sequence(7, 1, start=True),
        _sequence(8, 10, start=True),
        _sequence(7, 2),
        _sequence(8, 20, end=True),
        _sequence(8, 30),
        _sequence(7, 3, end=True),
        _sequence(7, 4),
        _sequence(9, 1, start=True, end=True),
        _sequence(9, 1),
        _sequence(0, 1, start=True),
        _sequence(10, 1, start=True),
        _sequence(10, 2, start=True),
        _sequence(10, 3, end=True),
        _sequence("text", 1, start=True),
        _sequence("", 1, start=True),
    ]
    for number, step in enumerate(steps):
        yield json_case(f"http/sequence/{number}", step)
    for number, step in enumerate(steps):
        yield grpc_case(f"grpc/sequence/{number}", step, raw=True)
    yield stream_case("grpc/stream/sequence", steps[:9])


def _faults() -> Iterator[Case]:
    for kind in peer_valid.FAULTS:
        label = kind or "none of them"
        yield json_case(f"http/faults/{label}", peer_valid.fault(kind))
        yield grpc_case(f"grpc/faults/{label}", peer_valid.fault(kind), raw=True)


def _streams() -> Iterator[Case]:
    def many(*counts: int) -> list[Infer]:
        return [Infer("many", (Given("X", "INT32", (1,), [each]),)) for each in counts]

    yield stream_case("grpc/stream/one", many(1))
    yield stream_case("grpc/stream/several", many(3))
    yield stream_case("grpc/stream/none", many(0))
    yield stream_case("grpc/stream/error", many(-1))
    yield stream_case("grpc/stream/one by one", many(2, 1, 3))
    yield stream_case("grpc/stream/with an error between", many(1, -1, 2))
    chance = random.Random(1)
    for model in ("add", "texts", "matrix"):
        made = [peer_valid.VALID[model](chance) for _ in range(3)]
        yield stream_case(f"grpc/stream/{model}", made)
    wrong = peer_mutations.missing_input(peer_valid.add(chance), chance)
    yield stream_case("grpc/stream/wrong", [wrong])
    yield stream_case("grpc/stream/unknown model", [peer_mutations.unknown_model(wrong, chance)])
    yield json_case("http/stream/decoupled", many(1)[0])
    yield grpc_case("grpc/stream/decoupled", many(1)[0], raw=True)


def _apart() -> Iterator[Case]:
    """What chance comes by too seldom, and what it is not to come by."""
    chance = random.Random(2)
    add, both = peer_valid.add(chance), peer_valid.both(chance)
    yield json_case("http/json/add/wrong_parameters", replace(add, parameters={"nested": {}}))
    yield json_case("http/json/add/wrong_parameters", replace(add, parameters={"triton_mine": 1}))
    yield json_case("http/json/both/duplicate_output", _twice(both, "OUT"))
    yield json_case("http/json/both/extra_input", peer_mutations.extra_input(both, chance))
    yield grpc_case("grpc/grpc/add/some_version", replace(add, version="01"), raw=True)
    yield json_case("http/json/types/duplicate_output", _twice(_typed("BOOL", [True]), "FP32"))
    yield grpc_case("grpc/grpc/types/missing_input", Infer("types", ()), raw=True)
    for body in (b"parameters", b"outputs"):
        case = json_case("http/wire/says/wrong_kind", peer_valid.says(chance))
        yield replace(case, body=b'{"%b":null,%b' % (body, (case.body or b"")[1:]))
    one_piece = Infer("texts", (Given("X", "BYTES", (2,), ["ab"]),))
    yield json_case("http/json/texts/short_data", one_piece)
    yield json_case("http/json/types/FP16", _typed("FP16", [1.5]))
    for digits in (-1.0595990083138203, -4.44926884244674):
        x = Given("X", "FP64", (2, 3), [digits] * 6)
        yield json_case("http/json/fixed/digits", Infer("fixed", (x,), version="3"))
    scalar = Given("SCALAR", "INT32", (1, 1), [3])
    yield json_case("http/json/reshaped/missing_input", Infer("reshaped", (scalar,)))
    vast = replace(peer_valid.texts(chance), inputs=(Given("X", "BYTES", (1 << 40,), ["a"]),))
    yield binary_case("http/wire/texts/vast_shape", vast)
    yield replace(json_case("http/wire/faults/no_json", peer_valid.fault("")), body=b"")
    yield json_case("http/wire/types/odd_element", _typed("INT8", [300]))
    completed = peer_valid.completed(chance)
    case = binary_case("http/wire/completed/wrong_length", completed)
    yield replace(case, headers={"Inference-Header-Content-Length": "x"})
    case = json_case("http/wire/completed/badly_compressed", completed)
    yield replace(case, headers={"Content-Encoding": "gzip"})
    yield json_case("http/json/asks/some_id", replace(peer_valid.asks(chance), id=""))
    shape = (1 << 40, 2, 2)
    x = Given("X", "INT32", shape, [1, 2, 3, 4])
    yield binary_case("http/wire/reshaped/vast_shape", Infer("reshaped", (x,)))
    case = json_case("http/wire/says/trailing", peer_valid.says(chance))
    yield replace(case, body=(case.body or b"") + b"\0")
    yield replace(
        case, label="http/wire/says/badly_compressed", headers={"Content-Encoding": "gzip"}
    )
    yield replace(case, label="http/wire/says/badly_compressed", headers={"Content-Encoding": "br"})
    yield replace(case, label="http/wire/says/odd_path", path="/v2/models/infer")


def _twice(infer: Infer, name: str) -> Infer:
    return replace(infer, outputs=(Wanted(name), Wanted(name)))


def _typed(name: str, data: list[object]) -> Infer:
    return Infer("types", (Given(name, name, (len(data),), data),))
