"""The command as people run it: a process with arguments, an environment and files."""

import json
import os
import re
import subprocess
import sys

import pytest

from enterprise_gateway import __version__
from enterprise_gateway.cli.application import EnterpriseGatewayApp
from enterprise_gateway.config import Settings
from enterprise_gateway.config.names import ignored_names
from enterprise_gateway.config.option import table
from enterprise_gateway.errors import ConfigError


@pytest.fixture
def home(tmp_path):
    """A home without a trace of Jupyter."""
    return tmp_path


def environment(home, **more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EG_", "KG_", "JUPYTER_"))}
    return kept | {"HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")} | more


def run(home, *arguments, stdin="", **environ):
    return subprocess.run(
        [sys.executable, "-m", "enterprise_gateway", *arguments],
        env=environment(home, **environ),
        cwd=home,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def set_by(home, *arguments, **environ):
    """What `--show-config-json` says is set."""
    done = run(home, "--show-config-json", *arguments, **environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["EnterpriseGatewayApp"]


def write(home, name, text):
    folder = home / "config"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_the_version_is_shown(home):
    done = run(home, "--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_help_names_every_short_option(home):
    done = run(home, "--help")
    assert done.returncode == 0
    for option in (
        "--ip", "--port", "--port_retries", "--keyfile", "--certfile", "--client-ca", "--ssl_version",
        "--config", "--log-level", "--debug", "--generate-config", "-y", "--show-config",
        "--show-config-json",
    ):  # fmt: skip
        assert re.search(rf"(?m)^{option}\b", done.stdout)


def test_help_need_not_wait_for_a_web_server():
    program = "import sys, enterprise_gateway.cli; print({'aiohttp', 'zmq', 'cryptography'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"


def test_help_all_names_every_setting_and_nothing_without_effect(home):
    text = run(home, "--help-all").stdout
    for field in table(Settings):
        assert f"--{field.trait}=" in text
    for name in ignored_names():
        assert f"--{name}=" not in text


def test_the_generated_file_has_every_setting_and_loads_back_as_the_defaults(home):
    assert run(home, "--generate-config").returncode == 0
    path = home / "config" / "jupyter_enterprise_gateway_config.py"
    text = path.read_text()
    for field in table(Settings):
        assert f"# c.{field.trait} = {field.plain_default!r}\n" in text
    assert set_by(home) == {}
    path.write_text(re.sub(r"(?m)^# c\.", "c.", text))
    assert set_by(home).keys() == {field.name for field in table(Settings)}
    app = EnterpriseGatewayApp()
    app.initialize([f"--config={path}"])
    assert app.read({}).settings == Settings()


def test_an_existing_file_is_overwritten_only_after_a_yes(home):
    path = write(home, "jupyter_enterprise_gateway_config.py", "# mine\n")
    assert run(home, "--generate-config", stdin="n\n").returncode == 0
    assert path.read_text() == "# mine\n"
    unanswered = run(home, "--generate-config")
    assert (unanswered.returncode, unanswered.stderr.count("\n")) == (2, 1)
    assert "-y" in unanswered.stderr
    assert run(home, "--generate-config", "-y").returncode == 0
    assert path.read_text() != "# mine\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot=1"], "--prot is not an option; did you mean --port?"),
        (["--port=abc"], "--port is 'abc', but must be an integer from 0 to 65535 (0 = any free port)"),
        (["--JupyterApp.answer_yes=perhaps"], "expected a boolean, not the str 'perhaps'."),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_line_and_status_2(home, arguments, message):
    done = run(home, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.endswith(f"{message}\n")
    assert done.stderr.count("\n") == 1


def test_what_is_wrong_in_the_environment_is_one_line_and_status_2(home):
    done = run(home, EG_MAX_KERNELS="many")
    expected = "jupyter enterprisegateway: EG_MAX_KERNELS is 'many', but must be an integer of at least 0, or None\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_settings_are_shown_with_who_set_them_and_without_secrets(home):
    path = write(home, "jupyter_enterprise_gateway_config.py", "c.EnterpriseGatewayApp.max_kernels = 7\n")
    done = run(home, "--show-config", "--port=9001", "--debug", EG_AUTH_TOKEN="hunter22", EG_CLIENT_ENVS="A,B")
    assert done.stdout.splitlines() == [
        f"Loaded {path}",
        "EnterpriseGatewayApp.port = 9001  (--port)",
        "EnterpriseGatewayApp.auth_token = '********'  (EG_AUTH_TOKEN)",
        f"EnterpriseGatewayApp.max_kernels = 7  (c.EnterpriseGatewayApp.max_kernels in {path})",
        "EnterpriseGatewayApp.client_envs = ['A', 'B']  (EG_CLIENT_ENVS)",
        "EnterpriseGatewayApp.log_level = 'DEBUG'  (--debug)",
    ]


def test_the_options_of_the_container_start_script_are_understood(home):
    told = set_by(
        home,
        "--log-level=DEBUG",
        "--KernelSpecManager.whitelist=['r_docker','python_docker']",
        "--RemoteMappingKernelManager.cull_idle_timeout=43200",
        "--RemoteMappingKernelManager.cull_connected=False",
        "--RemoteMappingKernelManager.default_kernel_name=python_docker",
        "--elyra",
    )
    assert told == {
        "log_level": "DEBUG",
        "allowed_kernels": ["r_docker", "python_docker"],
        "cull_idle_timeout": 43200,
        "cull_connected": False,
        "default_kernel_name": "python_docker",
    }


def test_the_command_line_beats_files_beat_the_environment(home):
    write(home, "jupyter_enterprise_gateway_config.json", '{"EnterpriseGatewayApp": {"port": 2, "ip": "::1"}}')
    told = set_by(home, "--port=3", EG_PORT="1", EG_IP="127.0.0.2", EG_BASE_URL="/x")
    assert told == {"port": 3, "ip": "::1", "base_url": "/x"}


@pytest.fixture
def app(home, monkeypatch):
    """An application that finds no files but those of the test."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(home / "config"))
    return EnterpriseGatewayApp()


def test_a_file_in_the_current_folder_is_not_run(app, home, monkeypatch):
    (home / "jupyter_enterprise_gateway_config.py").write_text("raise SystemExit(99)\n")
    monkeypatch.chdir(home)
    app.initialize([])
    assert app.read({}).settings == Settings()


def test_the_file_named_on_the_command_line_takes_the_place_of_the_usual_one(app, home):
    write(home, "jupyter_enterprise_gateway_config.py", "c.EnterpriseGatewayApp.port = 1\n")
    other = write(home, "other.py", "c.EnterpriseGatewayApp.ip = '::1'\n")
    app.initialize([f"--config={other}"])
    assert app.read({}).settings == Settings(ip="::1")


def test_files_are_read_again_each_time_settings_are_asked_for(app, home):
    path = write(home, "jupyter_enterprise_gateway_config.py", "c.EnterpriseGatewayApp.max_kernels = 1\n")
    app.initialize(["--port=5"])
    assert app.read({}).settings == Settings(port=5, max_kernels=1)
    path.write_text("c.EnterpriseGatewayApp.max_kernels = 2\n")
    assert app.read({}).settings == Settings(port=5, max_kernels=2)


def test_an_argument_that_is_no_option_is_refused(app):
    with pytest.raises(ConfigError, match="'foo' is not expected here"):
        app.initialize(["--port=1", "foo"])


def test_every_short_option_sets_what_it_says(app):
    certificate = ["--certfile=/c.pem", "--keyfile=/k.pem", "--client-ca=/ca.pem", "--ssl_version=5"]
    app.initialize(["--ip", "::1", "--port", "1", "--port_retries=2", "--log-level=ERROR", *certificate])
    assert app.read({}).settings == Settings(
        ip="::1", port=1, port_retries=2, log_level=40,
        certfile="/c.pem", keyfile="/k.pem", client_ca="/ca.pem", ssl_version=5,
    )  # fmt: skip


def test_remarks_name_what_has_no_effect_wherever_it_is_written(app, home):
    path = write(home, "jupyter_enterprise_gateway_config.py", "c.EnterpriseGatewayApp.prot = 1\n")
    written = f"c.EnterpriseGatewayApp.prot in {path}"
    app.initialize(["--EnterpriseGatewayApp.impersonation_enabled=True"])
    assert [remark.text for remark in app.remarks({"EG_YARN_ENDPOINT": "x"}, app.read({}).files)] == [
        "EG_YARN_ENDPOINT has no effect with the backends of this gateway",
        "--EnterpriseGatewayApp.impersonation_enabled has no effect with the backends of this gateway",
        f"{written} is not a known setting; did you mean EnterpriseGatewayApp.port?",
    ]


def test_the_command_line_is_read_without_a_word_in_the_log_and_without_handlers(app, caplog):
    app.initialize(["--debug", "--EnterpriseGatewayApp.yarn_endpoint=x"])
    assert app.log.handlers == []
    assert caplog.records == []
