"""MLServer's settings files."""

from salver.spec.settings_files import read_model_settings, read_server_settings


def test_model_settings_are_read() -> None:
    text = """{
      "name": "iris",
      "implementation": "mlserver_sklearn.SKLearnModel",
      "max_batch_size": 8,
      "max_batch_time": 0.5,
      "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
      "parameters": {"uri": "./model.joblib", "version": "v0.1.0", "extra": {"a": [1]}}
    }"""
    reading = read_model_settings(text, "model-settings.json")
    assert (reading.problems, reading.notes) == ((), ())
    settings = reading.settings
    assert settings is not None
    assert (settings.name, settings.max_batch_size, settings.max_batch_time) == ("iris", 8, 0.5)
    assert settings.inputs[0].shape == (-1, 4)
    assert settings.parameters is not None
    assert (settings.parameters.uri, settings.parameters.extra) == ("./model.joblib", {"a": [1]})


def test_faults_are_problems_and_unknown_names_are_notes() -> None:
    text = '{\n "nam": "iris",\n "max_batch_size": -1,\n "warm_workers": true,\n "inputs": {}\n}'
    reading = read_model_settings(text, "m.json")
    assert reading.settings is None
    assert [str(each) for each in reading.problems] == [
        "m.json:3: max_batch_size: must be at least 0, found -1",
        "m.json:5: inputs: expected a list of mappings, found a mapping; begin each item with '- '",
    ]
    assert [str(each) for each in reading.notes] == [
        "m.json:2: nam: unknown field; did you mean 'name'?",
        "m.json:4: warm_workers: has no meaning on this backend (whether workers start at once)",
    ]


def test_a_file_that_is_no_json_has_one_problem() -> None:
    reading = read_model_settings("{", "m.json")
    assert reading.settings is None
    assert [each.line for each in reading.problems] == [1]


def test_server_settings_have_defaults() -> None:
    reading = read_server_settings("", "settings.json")
    assert reading.settings is not None
    assert (reading.settings.http_port, reading.settings.grpc_port) == (8080, 8081)


def test_the_ports_of_a_server_are_ports() -> None:
    (problem,) = read_server_settings('{"http_port": 70000}', "s.json").problems
    assert str(problem) == "s.json:1: http_port: must be between 0 and 65535, found 70000"
