"""Programs that speak the framed protocol, well or not: real processes, written in Python here."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.runtimes.requests import arrays, ask, source

from salver.errors import InvalidInput, LoadFailed, MissingFramework, ModelFailed
from salver.inference.tensor import InferRequest, tensor_from_array
from salver.runtimes.program import ProgramModel, ProgramRuntime
from salver.runtimes.program_spec import program_spec

KIT = """
import os, struct, sys, time
def send(text, body=b""):
    head = text.encode()
    os.write(1, struct.pack("<4sII", b"SLVR", len(head), len(body)) + head + body)
def exactly(count):
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data
def receive():
    _, head, body = struct.unpack("<4sII", exactly(12))
    lines = [line.split("\\t") for line in exactly(head).decode().split("\\n")]
    return lines, exactly(body)
HELLO = "hello\\t1\\ninput\\tx\\tFP64\\t-1\\noutput\\ty\\tFP64\\t-1\\nbatchable\\tyes"
def greet(hello=HELLO):
    send(hello)
    lines, _ = receive()
    send("pong\\t" + lines[0][1])
"""
DOUBLES = """
greet()
while True:
    lines, body = receive()
    values = struct.unpack(f"<{len(body) // 8}d", body)
    doubled = struct.pack(f"<{len(values)}d", *[2 * value for value in values])
    send(f"answer\\t{lines[0][1]}\\noutput\\ty\\tFP64\\t{len(values)}\\t{len(doubled)}", doubled)
"""
ANSWERS = """
greet()
while True:
    lines, body = receive()
    {answer}
"""

Write = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path) -> Write:
    """A folder with a program and its settings."""

    def write(code: str, **settings: Any) -> Path:
        (tmp_path / "model.py").write_text(KIT + code)
        settings = {"command": [sys.executable, "-I", "-S", "model.py"], **settings}
        (tmp_path / "salver-program.json").write_text(json.dumps(settings))
        return tmp_path

    return write


@contextmanager
def loaded(path: Path, **fields: Any) -> Iterator[ProgramModel]:
    model = ProgramRuntime().load(source(path, "program", **fields))
    try:
        yield model
    finally:
        model.unload()


def refusal(path: Path, **fields: Any) -> str:
    with pytest.raises(LoadFailed) as caught:
        ProgramRuntime().load(source(path, "program", **fields))
    text = str(caught.value)
    assert "\n" not in text
    return text


def failure(path: Path) -> str:
    """What is said to the second request; the first finds nothing wrong."""
    with loaded(path) as model, pytest.raises(ModelFailed) as caught:
        model.predict(ask(x=[1.0]))
    return str(caught.value)


def test_a_program_says_what_it_takes_and_answers(program: Write) -> None:
    with loaded(program(DOUBLES)) as model:
        metadata = model.metadata
        assert [each.name for each in metadata.inputs] == ["x"]
        assert (metadata.batchable, metadata.idempotent, metadata.platform) == (
            True,
            True,
            "program",
        )
        assert arrays(model.predict(ask(x=[1.5, -2.0])))["y"].tolist() == [3.0, -4.0]


def test_a_mebibyte_goes_there_and_back(program: Write) -> None:
    rows = np.arange(131072, dtype=np.float64)
    with loaded(program(DOUBLES)) as model:
        assert np.array_equal(arrays(model.predict(ask(x=rows)))["y"], 2 * rows)


def test_parameters_and_wanted_outputs_are_told(program: Write) -> None:
    code = """
greet("hello\\t1")
while True:
    lines, body = receive()
    text = repr(lines[1:]).encode()
    body = struct.pack("<I", len(text)) + text
    send(f"answer\\t{lines[0][1]}\\noutput\\ty\\tBYTES\\t1\\t{len(body)}\\nparameter\\tk\\tv", body)
"""
    tensor = tensor_from_array("a\tb", np.array([1], dtype=np.int8))
    request = InferRequest((tensor,), ("y",), {"top": 3, "kind": "a\nb", "deep": {"x": [1]}})
    with loaded(program(code)) as model:
        response = model.predict(request)
    assert eval(response.outputs[0].data[0]) == [
        ["input", "a\\tb", "INT8", "1", "1"],
        ["parameter", "top", "3"],
        ["parameter", "kind", "a\\nb"],
        ["parameter", "deep", '{"x":[1]}'],
        ["output", "y"],
    ]
    assert response.parameters == {"k": "v"}


def test_the_settings_say_what_the_hello_leaves_out(program: Write) -> None:
    path = program(
        ANSWERS.format(answer="pass").replace("greet()", "greet('hello\\t1')"),
        inputs=[
            {"name": "a", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "b", "datatype": "BYTES"},
        ],
        outputs=[{"name": "y", "datatype": "FP64", "shape": [-1]}],
        batchable=True,
        idempotent=False,
        platform="cobol",
    )
    with loaded(path) as model:
        found = model.metadata
    assert [(each.name, each.shape, each.any_shape) for each in found.inputs] == [
        ("a", (-1, 2), False),
        ("b", (), True),
    ]
    assert (found.batchable, found.idempotent, found.platform) == (True, False, "cobol")


def test_what_it_prints_is_log_if_answers_have_a_descriptor_of_their_own(
    program: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    code = DOUBLES.replace("    values =", "    print('working', flush=True)\n    values =")
    code = "answers = os.open(os.environ['SALVER_ANSWERS'], os.O_WRONLY)\n" + code
    kit = "write = os.write\nos.write = lambda fd, data: write(answers, data)\n"
    with loaded(program(kit + code, answers="descriptor")) as model:
        assert arrays(model.predict(ask(x=[1.0])))["y"].tolist() == [2.0]
    assert capfd.readouterr().err == "working\n"


def test_variables_tell_the_program_what_it_is(program: Write) -> None:
    code = """
greet("hello\\t1\\nplatform\\t" + os.environ["SALVER_MODEL"] + os.environ["SALVER_THREADS"]
      + os.environ["MINE"] + os.path.basename(os.getcwd()))
receive()
"""
    path = program(code, env={"MINE": "!"})
    with loaded(path, threads=3) as model:
        assert model.metadata.platform == f"{path.stem}3!{path.name}"


# --- errors of its own -----------------------------------------------------------------------


def test_its_errors_say_whose_fault_they_are(program: Write) -> None:
    answer = (
        "send(f\"error\\t{lines[0][1]}\\t{['input', 'model'][len(body) // 16]}\\tno\\\\ngood\")"
    )
    with loaded(program(ANSWERS.format(answer=answer))) as model:
        with pytest.raises(InvalidInput, match=r"^no good$"):
            model.predict(ask(x=[1.0]))
        with pytest.raises(ModelFailed, match=r"^no good$"):
            model.predict(ask(x=[1.0, 2.0]))


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        ("print('loading', flush=True)", "its program wrote 'loading' where a message"),
        ("send('answer\\t77')", "answered request '77', and was asked 1"),
        ("send('pong\\t1')", "sent 'pong' where an answer belongs"),
        ("send('answer\\t1')", "no output 'y'; it gave none"),
        ("send('answer\\t1\\noutput\\tz\\tFP64\\t\\t8', bytes(8))", "no output 'y'; it gave 'z'"),
        ("send('answer\\t1\\noutput\\ty\\tFP32\\t1\\t4', bytes(4))", "as FP32; it had said FP64"),
        ("send('answer\\t1\\noutput\\ty\\tFP64\\t2\\t8', bytes(8))", "1 elements, its shape"),
        ("os.write(1, b'SLVR' + bytes([255] * 8))", "a message whose head has 4294967295 bytes"),
        ("os.write(1, b'SLVR\\2\\0\\0\\0\\0\\0\\0\\0\\xff\\xff')", "a head that is no UTF-8"),
    ],
)
def test_a_wrong_answer_is_told_with_what_is_wrong(program: Write, answer: str, fact: str) -> None:
    assert fact in failure(program(ANSWERS.format(answer=answer)))


def test_a_program_that_printed_answers_the_next_request_all_the_same(program: Write) -> None:
    code = DOUBLES.replace(
        "    values =", "    if len(body) == 8: print('hm', flush=True)\n    values ="
    )
    with loaded(program(code)) as model:
        with pytest.raises(ModelFailed, match="wrote 'hm'"):
            model.predict(ask(x=[1.0]))
        assert arrays(model.predict(ask(x=[1.0, 2.0])))["y"].tolist() == [2.0, 4.0]


# --- ends ------------------------------------------------------------------------------------


def test_a_killed_program_is_there_again_for_the_next_request(program: Write) -> None:
    with loaded(program(DOUBLES)) as model:
        first = model.pid
        os.kill(first, signal.SIGKILL)
        assert arrays(model.predict(ask(x=[4.0])))["y"].tolist() == [8.0]
        assert model.pid != first


def test_all_that_it_has_started_ends_with_it(program: Write, tmp_path: Path) -> None:
    code = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n" + (
        "open('pid', 'w').write(str(child.pid))\n" + DOUBLES
    )
    with loaded(program(code)):
        child = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{child}/stat").exists()
    ends_s = time.monotonic() + 10
    # It has been sent SIGKILL, which takes a moment.
    while not _is_dead(child) and time.monotonic() < ends_s:
        time.sleep(0.01)
    assert _is_dead(child)


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_program_that_changes_its_mind_is_not_taken_up_again(
    program: Write, tmp_path: Path
) -> None:
    path = program(DOUBLES)
    with loaded(path) as model:
        (tmp_path / "model.py").write_text(KIT + "greet('hello\\t1')\nreceive()\n")
        os.kill(model.pid, signal.SIGKILL)
        with pytest.raises(Exception, match="has other inputs or outputs than before"):
            model.predict(ask(x=[4.0]))


# --- what cannot be loaded -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("sys.exit(3)", "exited with code 3 before it was ready"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9 before it was ready"),
        ("print('Hello!', flush=True); time.sleep(60)", "wrote 'Hello!' where a message"),
        ("send('answer\\t1')", "sent 'answer' where its hello belongs"),
        ("send('hello\\t2')", "it speaks version '2' of the protocol, not 1"),
        ("send('hello\\t1\\ninput\\tx\\tfloat\\t1')", "unknown datatype 'float'"),
        ("send('hello\\t1\\ninput\\tx\\tFP32\\t' + '9' * 30)", "at most 32 sizes, each from -1"),
        ("send('hello\\t1\\ninput\\tx\\tFP32\\t' + '1,' * 40 + '1')", "at most 32 sizes"),
        ("os.write(1, b'SLVR' + b'\\xff' * 8)", "whose head has 4294967295 bytes"),
        ("os.write(1, b'SLVR\\x01\\0\\0\\0\\0\\0\\0\\0\\xff')", "a head that is no UTF-8"),
        ("send('hello\\t1\\nbatchable\\tmaybe')", "its line batchable says 'maybe'"),
        ("send('hello\\t1')\nreceive()\nsend('hello\\t1')", "sent 'hello' where a pong belongs"),
    ],
)
def test_a_program_that_does_not_come_up_is_refused_with_the_reason(
    program: Write, code: str, fact: str
) -> None:
    assert fact in refusal(program(code))


@pytest.mark.parametrize("code", ["time.sleep(60)", "send('hello\\t1'); time.sleep(60)"])
def test_a_program_that_says_nothing_is_refused_after_its_time(program: Write, code: str) -> None:
    assert "was not ready within 0.3 s" in refusal(program(code, start_timeout_s=0.3))


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"command": []}, "has no command; give a list"),
        ({"command": "perl model.pl"}, "Expected `array`"),
        ({"command": ["no-such-program"]}, "'no-such-program' is not on the search path"),
        ({"command": ["./gone"]}, "'./gone' does not exist"),
        ({"command": ["./model.py"]}, "is not executable; run: chmod +x"),
        ({"comand": ["x"]}, "unknown field `comand`"),
        ({"answers": "stderr"}, "Invalid enum value 'stderr'"),
        ({"start_timeout_s": 0}, "start_timeout_s is 0; give seconds above 0"),
        ({"inputs": [{"name": "x", "datatype": "float"}]}, "'x' is declared as float"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1 << 50]}]}, "at most 32 sizes"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1] * 33}]}, "at most 32 sizes"),
    ],
)
def test_wrong_settings_are_named(program: Write, settings: dict[str, Any], fact: str) -> None:
    assert fact in refusal(program(DOUBLES, **settings))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "holds no JSON object"),
        (None, "cannot be read"),
    ],
)
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, text: Any, fact: str) -> None:
    if text is not None:
        (tmp_path / "salver-program.json").write_text(text)
    assert fact in refusal(tmp_path)


def test_a_file_that_can_be_run_is_a_program_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "doubles"
    path.write_text(f"#!{sys.executable} -IS\n{KIT}{DOUBLES}")
    path.chmod(0o755)
    with loaded(path) as model:
        assert arrays(model.predict(ask(x=[1.0])))["y"].tolist() == [2.0]
    path.write_text("nothing")
    assert "cannot be run: Exec format error" in refusal(path)


@pytest.mark.parametrize(("name", "program"), [("m.jar", "java"), ("m.R", "Rscript")])
def test_where_java_or_r_is_missing_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, program: str
) -> None:
    (tmp_path / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingFramework, match=f"no '{program}' on the search path; run: apt"):
        program_spec(source(tmp_path / name, "program"))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"LC_ALL": "C.UTF-8"}),
        ({"LANG": "C"}, {"LC_ALL": "C.UTF-8"}),
        ({"LANG": "de_CH.UTF-8"}, {}),
        ({"LC_ALL": "POSIX", "LANG": "en_US.utf8"}, {"LC_ALL": "C.UTF-8"}),
    ],
)
def test_wrappers_get_a_locale_of_utf_8_where_there_is_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: dict[str, str],
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "Rscript").write_text("#!/bin/sh\n")
    (tmp_path / "Rscript").chmod(0o755)
    (tmp_path / "m.R").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_spec(source(tmp_path / "m.R", "program")).env == expected
