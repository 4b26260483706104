"""What the documents tell a reader to type exists; `tests/e2e/test_documents.py` types it."""

import os
import re
import shlex
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.documents import ROOT, blocks, commands, documents, links

from salver.cli.options import resolve
from salver.cli.parser import parse_serve

DOCUMENTS = [path.relative_to(ROOT) for path in documents()]
COMMANDS = [(path, line) for path in DOCUMENTS for line in commands(ROOT / path)]
SERVE = [(path, line) for path, line in COMMANDS if "salver serve" in line]


@pytest.mark.parametrize(("path", "line"), SERVE)
def test_every_serve_command_has_right_flags_and_values(path: Path, line: str) -> None:
    words = shlex.split(line.rpartition("salver serve")[2])
    targets, flags = parse_serve(words)
    resolve(flags, {}, {}, target_count=len(targets))
    examples = [target for target in targets if target.startswith("examples/")]
    for example in examples:
        assert (ROOT / example.partition(":")[0]).exists()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_script_named_is_there_and_can_be_run(path: Path) -> None:
    for script in set(re.findall(r"(?:^|\s|`)(scripts/[\w-]+)", (ROOT / path).read_text())):
        assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = [link for link in links(ROOT / path) if not (ROOT / path.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_settings_file_shown_is_accepted(path: Path) -> None:
    for block in blocks(ROOT / path, "toml"):
        resolve({}, {}, tomllib.loads(block.text))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_python_block_compiles(path: Path) -> None:
    for block in blocks(ROOT / path, "python"):
        compile(block.text, str(path), "exec")


def test_the_settings_table_says_the_same_in_three_ways() -> None:
    text = (ROOT / "docs/how-to/serve-a-model.md").read_text()
    rows = re.findall(r"^\| `(--[^`]+)` \| `(SALVER_[^`]+)` \| `([^`]+)` \|$", text, re.MULTILINE)
    assert len(rows) == 3
    for flag, variable, line in rows:
        name, _, value = variable.partition("=")
        by_flag = resolve(parse_serve(["x", *flag.split()])[1], {}, {})
        assert resolve({}, {name: value}, {}) == by_flag
        assert resolve({}, {}, tomllib.loads(line)) == by_flag


def test_the_class_shown_is_the_one_shipped() -> None:
    shown = blocks(ROOT / "docs/how-to/write-a-python-model.md", "python")[0].text
    assert (ROOT / "examples/my_model.py").read_text().endswith(shown)


def test_the_picture_is_well_formed() -> None:
    assert ElementTree.parse(ROOT / "docs/architecture.svg").getroot().tag.endswith("svg")


def test_the_code_map_names_files_that_are_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    source = {path.name for path in (ROOT / "src").rglob("*.py")}
    named = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", text)}
    assert named - source == set()
