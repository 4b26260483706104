import pytest

from salver.cli.jsonpath import find, render
from salver.errors import CommandFailed

OBJ = {
    "a": {"b.c": 1, "d": [10, 20, 30]},
    "conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "Stopped", "status": "False", "severity": "Info"},
    ],
    "text": "hello",
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("{.text}", ["hello"]),
        (".text", ["hello"]),
        ("text", ["hello"]),
        ("{$.a.d[0]}", [10]),
        ("{.a.d[-1]}", [30]),
        ("{.a.d[7]}", []),
        ("{.a.d[*]}", [10, 20, 30]),
        ("{.a.d[1:]}", [20, 30]),
        ("{.a['b.c']}", [1]),
        (r"{.a.b\.c}", [1]),
        ('{.conditions[?(@.type=="Ready")].status}', ["True"]),
        ("{.conditions[?(@.type!='Ready')].status}", ["False"]),
        ("{.conditions[?(@.severity)].type}", ["Stopped"]),
        ("{.conditions.*.type}", ["Ready", "Stopped"]),
        ("{.nothing.at.all}", []),
        ("{.text.deeper}", []),
    ],
)
def test_a_path_leads_to_values(path: str, found: list[object]) -> None:
    assert find(path, OBJ) == found


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.a.d}", "[10,20,30]"),
        ("{.a.d[*]}", "10 20 30"),
        ("is {.text}!{'\\n'}", "is hello!\n"),
        ('{range .conditions[*]}{.type}={.status}{";"}{end}.', "Ready=True;Stopped=False;."),
        ("{range .a.d[*]}{@}{range $.none[*]}x{end},{end}", "10,20,30,"),
    ],
)
def test_a_template_is_filled_in(template: str, text: str) -> None:
    assert render(template, OBJ) == text


@pytest.mark.parametrize("template", ["{.a", "{.a[}", "{.a[?(b c d)]}", "{end}", "{.a}}"])
def test_what_cannot_be_read_is_refused(template: str) -> None:
    with pytest.raises(CommandFailed, match="jsonpath"):
        render(template, OBJ)
