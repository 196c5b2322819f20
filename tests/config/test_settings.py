"""The table of settings."""

import msgspec
import pytest

from enterprise_gateway.config import PortRange, Settings, build, from_environ, kinds
from enterprise_gateway.config.names import ignored_names, known_traits
from enterprise_gateway.config.option import Field, table

FIELDS = table(Settings)
SAMPLES = {
    kinds.PORT: ("9000", 9000),
    kinds.SECONDS: ("12.5", 12.5),
    kinds.TEXT: ("some text", "some text"),
    kinds.PATH: ("/some/path", "/some/path"),
    kinds.CREDENTIAL: ("secret", "secret"),
    kinds.BASE_URL: ("a/b/", "/a/b"),
    kinds.URL: ("https://host/gateway/", "https://host/gateway"),
    kinds.KERNEL_NAME: ("ir", "ir"),
    kinds.NAMES: ("A,B", ("A", "B")),
    kinds.IDS: ("0,7", frozenset({0, 7})),
    kinds.USERS: ("ann,ben", frozenset({"ann", "ben"})),
    kinds.SIZE: ("5MiB", 5 * 2**20),
    kinds.LOG_LEVEL: ("error", 40),
    kinds.PORT_RANGE: ("40000..42000", PortRange(40000, 42000)),
}
NEEDED_BY_OTHERS = {"EG_CERTFILE": "/cert.pem", "EG_CLIENT_CA": "/ca.pem"}


def sample(field: Field) -> tuple[str, object]:
    """Text that is not the default, and what it means."""
    kind = field.option.kind
    if kind in SAMPLES:
        return SAMPLES[kind]
    return {
        "boolean": (str(not field.default), not field.default),
        "text|json": ("json", "json"),
        "names": ("kubernetes", ("kubernetes",)),
    }.get(kind.noun, ("7", 7))


@pytest.mark.parametrize(
    ("field", "name"),
    [pytest.param(field, name, id=name) for field in FIELDS for name in field.option.env],
)
def test_every_environment_name_sets_its_field(field, name):
    text, meaning = sample(field)
    assert meaning != field.default
    settings = build([from_environ({name: text}), from_environ(NEEDED_BY_OTHERS)])
    assert getattr(settings, field.name) == meaning


def test_no_environment_gives_the_defaults():
    assert build([from_environ({})]) == Settings()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_default_is_a_value_of_its_kind_and_survives_being_written_to_a_file(field):
    written = msgspec.json.decode(msgspec.json.encode(field.plain_default))
    assert field.option.kind.parse(written) == field.default
    assert field.option.kind.parse(field.default) == field.default


def test_no_name_means_two_things():
    env = [name for field in FIELDS for name in field.option.env]
    traits = [trait for field in FIELDS for trait in field.traits]
    assert len(set(env)) == len(env)
    assert len(set(traits)) == len(traits)
    assert not ignored_names() & (set(env) | known_traits())


def test_help_is_whole_sentences():
    for field in FIELDS:
        assert field.option.help.endswith("."), field.name
        assert field.option.help[0].isupper(), field.name


def test_a_secret_is_not_in_the_representation():
    settings = Settings(auth_token="hunter22", port=1)
    assert repr(settings) == "Settings(port=1, auth_token=********)"


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        Settings().port = 1
