"""What a log line looks like, and what is never in one."""

import io
import json
import logging
import re
import subprocess
import sys

import pytest

from enterprise_gateway.app import logs
from enterprise_gateway.core.secret import Secret

KERNEL_ID = "6a3d5a3e-2f2e-4a69-94b4-3a1b9d4c6a10"


@pytest.fixture
def logger():
    """A logger of the gateway's that nothing listens to yet."""
    it = logging.getLogger("enterprise_gateway.test_logs")
    it.propagate = False
    it.setLevel(logging.DEBUG)
    yield it
    it.handlers.clear()
    it.propagate = True


def listen(logger, fmt, *secrets):
    stream = io.StringIO()
    logger.handlers[:] = [logs.handler_for(stream, fmt, [Secret(text) for text in secrets])]
    return stream


def test_text_has_the_shape_people_grep_for(logger):
    stream = listen(logger, "text")
    logger.info("ready on %s", "port")
    assert re.fullmatch(
        r"\[I \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} EnterpriseGatewayApp\] ready on port\n", stream.getvalue()
    )


def test_other_libraries_keep_their_names():
    line = logs.TextFormatter(logs.Redactor([])).format(
        logging.LogRecord("asyncio", logging.ERROR, "", 0, "x", None, None)
    )
    assert re.fullmatch(r"\[E [^\]]+ asyncio\] x", line)


def test_extras_follow_the_text_with_the_kernel_first(logger):
    stream = listen(logger, "text")
    logger.warning("died", extra={"reason": "exit code 1", "signal": "", "kernel_id": KERNEL_ID, "n": 5})
    assert stream.getvalue().endswith(f'died kernel_id={KERNEL_ID} reason="exit code 1" signal="" n=5\n')


def test_json_is_one_object_a_line_with_the_extras_in_it(logger):
    stream = listen(logger, "json")
    logger.info("a\nb", extra={"kernel_id": KERNEL_ID, "count": 3, "odd": set, "level": "mine"})
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("ts"))
    assert told == {
        "level": "INFO",
        "logger": "enterprise_gateway.test_logs",
        "message": "a\nb",
        "kernel_id": KERNEL_ID,
        "count": 3,
        "odd": "<class 'set'>",
    }


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_an_exception_is_told_with_its_traceback(logger, fmt):
    stream = listen(logger, fmt)
    try:
        json.loads("no luck")
    except ValueError:
        logger.exception("failed")
    assert "Traceback (most recent call last)" in stream.getvalue()
    assert "JSONDecodeError: " in stream.getvalue()
    assert fmt == "text" or "JSONDecodeError" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize("text", ["a\n[I 2026 EnterpriseGatewayApp] forged", "a\rb", "a\x1b[2Jb", "a\u2028b"])
def test_a_client_cannot_start_a_line_of_its_own(logger, text):
    stream = listen(logger, "text")
    logger.info("%s", text, extra={"path": text})
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line


@pytest.mark.parametrize("fmt", ["text", "json"])
@pytest.mark.parametrize(
    "message",
    [
        "GET /api/kernels?token=hunter22&x=1",
        "GET /api/kernels?x=1&TOKEN=hunter22",
        "GET /t/hunter22/api/kernels",
        "GET https://gateway/t/hunter22/api/kernels",
        "Authorization: token hunter22",
        "authorization: Bearer hunter22",
        "Authorization: hunter22",
        "{'Authorization': 'token hunter22', 'Accept': '*/*'}",
        '{"Authorization": "Basic hunter22"}',
        "Authorization=hunter22",
    ],
)
def test_credentials_are_hidden_by_where_they_stand(logger, fmt, message):
    stream = listen(logger, fmt)
    logger.info(message)
    assert "hunter22" not in stream.getvalue()
    assert logs.STARS in stream.getvalue()
    assert fmt == "text" or json.loads(stream.getvalue())["message"]


@pytest.mark.parametrize("fmt", ["text", "json"])
@pytest.mark.parametrize("secret", ["hunter22", 'hun"ter\\22', "hünter 22", "hun+ter/22=="])
def test_known_secrets_are_hidden_wherever_they_stand(logger, fmt, secret):
    stream = listen(logger, fmt, secret)
    logger.info("env %s", {"EG_AUTH_TOKEN": secret}, extra={"value": secret})
    try:
        {}[secret]
    except KeyError:
        logger.exception("failed with %s", secret)
    assert not re.search("hun|hün", stream.getvalue())
    assert fmt == "text" or all(json.loads(line) for line in stream.getvalue().splitlines())


def test_what_is_around_a_credential_stays_readable(logger):
    stream = listen(logger, "text")
    logger.info("GET /api/kernels?token=hunter22&x=1 200", extra={"kernel_id": KERNEL_ID})
    assert stream.getvalue().endswith(f"GET /api/kernels?token=********&x=1 200 kernel_id={KERNEL_ID}\n")


def test_a_secret_too_short_to_hide_does_not_shred_the_log(logger):
    stream = listen(logger, "text", "e", "")
    logger.info("kernel started")
    assert stream.getvalue().endswith("kernel started\n")


def test_setting_up_logging_again_replaces_the_first_time():
    program = (
        "import logging\n"
        "from enterprise_gateway.app import logs\n"
        "from enterprise_gateway.core.secret import Secret\n"
        "logs.configure('info', 'text')\n"
        "logs.configure(logging.WARNING, 'json', [Secret('hunter22')])\n"
        "logging.getLogger('a').info('not this')\n"
        "logging.getLogger('a').warning('hunter22')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"] == logs.STARS
