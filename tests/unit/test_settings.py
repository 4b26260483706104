import dataclasses

import pytest

from salver.settings import Option, ServeSettings


@pytest.mark.parametrize("field", dataclasses.fields(ServeSettings), ids=lambda field: field.name)
def test_every_setting_says_what_it_does_on_one_line(field: "dataclasses.Field[object]") -> None:
    option = field.metadata["option"]
    assert isinstance(option, Option)
    assert option.help and "\n" not in option.help
    assert option.group


def test_a_server_listens_on_loopback_unless_told_otherwise() -> None:
    assert ServeSettings().host == "127.0.0.1"


def test_settings_cannot_be_changed_once_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServeSettings().workers = 2  # type: ignore[misc]
