from __future__ import annotations

import json
import re

import pytest

from enterprise_gateway.errors import ConfigError
from enterprise_gateway.kernelspecs.model import MASK, InterruptMode
from enterprise_gateway.kernelspecs.reader import native_spec, read_spec

MINIMAL = {"argv": ["run", "{connection_file}"], "display_name": "Mine", "language": "python"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def write(folder, **changes):
    (folder / "kernel.json").write_text(json.dumps(MINIMAL | changes))


def test_a_full_kernel_json_is_read(folder):
    write(folder, env={"A": "1"}, interrupt_mode="Message", metadata={"debugger": True}, mimetype="x/y")
    for name in ("kernel.js", "kernel.css", "logo-64x64.png", "logo-svg.svg", "run.sh"):
        (folder / name).touch()
    spec = read_spec("mine", folder)
    assert spec.interrupt_mode is InterruptMode.MESSAGE
    assert spec.to_json("/") == {
        "name": "mine",
        "spec": {
            "argv": ["run", "{connection_file}"],
            "env": {"A": "1"},
            "display_name": "Mine",
            "language": "python",
            "interrupt_mode": "message",
            "metadata": {"debugger": True},
        },
        "resources": {
            "kernel.js": "/kernelspecs/mine/kernel.js",
            "kernel.css": "/kernelspecs/mine/kernel.css",
            "logo-64x64": "/kernelspecs/mine/logo-64x64.png",
            "logo-svg": "/kernelspecs/mine/logo-svg.svg",
        },
    }


def test_resources_are_below_the_base_url_and_quoted(folder):
    write(folder)
    (folder / "logo-a b.png").touch()
    resources = read_spec("my kernel", folder).to_json("/fake/path/")["resources"]
    assert resources == {"logo-a b": "/fake/path/kernelspecs/my%20kernel/logo-a%20b.png"}


def test_secrets_are_masked_for_clients_and_kept_for_the_kernel(folder):
    write(folder, env={"DB_PASSWORD": "s3cret", "HOME_URL": "x"})
    spec = read_spec("mine", folder)
    assert spec.env["DB_PASSWORD"] == "s3cret"
    assert spec.to_json("/")["spec"]["env"] == {"DB_PASSWORD": MASK, "HOME_URL": "x"}


def test_language_may_be_missing(folder):
    (folder / "kernel.json").write_text('{"argv": ["x"], "display_name": "X"}')
    assert read_spec("x", folder).language == ""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "truncated|malformed"),
        ("[]", "object"),
        ('{"argv": ["x"]}', "display_name"),
        ('{"display_name": "X"}', "argv"),
        (json.dumps(MINIMAL | {"argv": "run"}), "argv"),
        (json.dumps(MINIMAL | {"argv": ["run", 1]}), "argv"),
        (json.dumps(MINIMAL | {"argv": []}), "argv is empty"),
        (json.dumps(MINIMAL | {"display_name": ""}), "display_name is empty"),
        (json.dumps(MINIMAL | {"env": {"A": 1}}), "env"),
        (json.dumps(MINIMAL | {"env": {"A": "\0"}}), "NUL"),
        (json.dumps(MINIMAL | {"env": {"A=B": "x"}}), "'='"),
        (json.dumps(MINIMAL | {"interrupt_mode": "shout"}), "shout"),
        (json.dumps(MINIMAL | {"metadata": {"process_proxy": "k8s"}}), "process_proxy"),
    ],
)
def test_a_wrong_kernel_json_is_refused_with_the_problem(folder, content, problem):
    (folder / "kernel.json").write_text(content)
    with pytest.raises(ConfigError) as raised:
        read_spec("x", folder)
    assert re.search(problem, raised.value.message)


def test_bytes_that_are_no_text_are_refused(folder):
    (folder / "kernel.json").write_bytes(b'{"argv": ["\xff"]}')
    with pytest.raises(ConfigError):
        read_spec("x", folder)


def test_the_native_spec_is_what_ipykernel_itself_would_install():
    kernelspec = pytest.importorskip("ipykernel.kernelspec")
    spec, theirs = native_spec(), kernelspec.get_kernel_dict()
    assert spec.resource_dir == kernelspec.RESOURCES
    assert list(spec.argv[1:]) == theirs["argv"][1:]
    assert spec.display_name == theirs["display_name"]
    assert "logo-64x64" in spec.resources
