"""Configuration files."""

import pytest

from enterprise_gateway.cli import files
from enterprise_gateway.config import build, from_environ, from_traits
from enterprise_gateway.errors import ConfigError


def settings_of(paths, environ=()):
    environment = from_environ(dict(environ))
    loaded = files.load(paths, environment)
    return build([*(from_traits(file.given) for file in reversed(loaded)), environment])


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_the_general_file_is_weaker_than_ours_and_the_first_folder_is_the_strongest(tmp_path, write):
    expected = [
        write("b/general.py", ""),
        write("a/general.py", ""),
        write("b/ours.py", ""),
        write("b/ours.json", ""),
        write("a/ours.py", ""),
    ]
    assert files.find([str(tmp_path / "a"), str(tmp_path / "b")], ["general", "ours"]) == expected


def test_a_file_named_without_a_suffix_may_have_either(tmp_path, write):
    written = [write("mine.py", ""), write("mine.json", "")]
    assert files.explicit(str(tmp_path / "mine")) == written


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match=r"--config: there is no file .*mine\.py"):
        files.explicit(str(tmp_path / "mine.py"))


def test_later_files_are_stronger(write):
    first = write("a.py", "c.EnterpriseGatewayApp.port = 1\nc.EnterpriseGatewayApp.max_kernels = 1\n")
    second = write("b.json", '{"EnterpriseGatewayApp": {"port": 2}}')
    settings = settings_of([first, second])
    assert (settings.port, settings.max_kernels) == (2, 1)


def test_appending_adds_to_what_weaker_sources_give(write):
    first = write("a.py", "c.EnterpriseGatewayApp.client_envs.append('B')\n")
    second = write(
        "b.py",
        "c.EnterpriseGatewayApp.client_envs.extend(['C', 'D'])\n"
        "c.EnterpriseGatewayApp.unauthorized_users.add('guest')\n",
    )
    settings = settings_of([first, second], {"EG_CLIENT_ENVS": "A"})
    assert settings.client_envs == ("A", "B", "C", "D")
    assert settings.unauthorized_users == {"root", "guest"}


def test_looking_at_a_name_does_not_set_it(write):
    path = write("a.py", "c.EnterpriseGatewayApp.port\nc.EnterpriseGatewayApp\n")
    assert settings_of([path]) == build()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.py", "\nraise RuntimeError('no luck')\n", "a.py, line 2: RuntimeError: no luck"),
        ("a.py", "c.EnterpriseGatewayApp.port = = 1\n", "a.py: SyntaxError: invalid syntax"),
        ("a.json", "{", "a.json: JSONDecodeError"),
    ],
)
def test_a_file_that_fails_is_named_with_the_line_and_the_reason(write, name, text, message):
    with pytest.raises(ConfigError) as caught:
        files.load([write(name, text)], {})
    assert message in caught.value.message


def test_a_bad_value_is_named_with_its_file(write):
    path = write("a.py", "c.EnterpriseGatewayApp.port = 'abc'\n")
    with pytest.raises(ConfigError) as caught:
        settings_of([path])
    assert caught.value.message.startswith(f"c.EnterpriseGatewayApp.port in {path} is 'abc', but must be")


def test_sections_of_other_programs_may_hold_anything(write):
    path = write("a.json", '{"ServerApp": {"jpserver_extensions": {"x": true}}, "load_subconfig": "y"}')
    assert settings_of([path]) == build()
