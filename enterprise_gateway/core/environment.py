"""Which variables a kernel's process gets, and from whom.

A kernel sees four sources, later ones win: a minimal base of the gateway's own environment, the kernel spec's
`env`, what the operator lets through (`inherited_envs`), and what the client sent. The gateway's own settings
(`EG_*`, `KG_*`) are never among them, whatever the lists say: they hold its tokens and passwords.

Pure rules: the gateway's environment is an argument. Nothing here knows how a process is started.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from string import Template

from ..errors import InvalidRequest

MAX_VALUE_CHARS = 4096
"""Longest value a client may send (EG's limit)."""
MAX_ENTRIES = 512
"""Most variables a client may send. A Jupyter server forwards every `KERNEL_*` it has: tens, not hundreds."""
MAX_TOTAL_BYTES = 256 * 1024
"""Names and values together in UTF-8: a quarter of what a Kubernetes Secret can hold."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# These reach shell scripts (run.sh, ssh) and `string.Template`; NUL cannot be in an environment at all.
_FORBIDDEN_IN_VALUES = frozenset("$`\n\r\0")
_FORBIDDEN_NAMES = "$, backtick, line feed, carriage return and NUL"

_OWN_PREFIXES = ("EG_", "KG_")
_SECRET_NAME = re.compile(r"PASSW(OR)?D|TOKEN|SECRET|CREDENTIAL|_PWD$|KEY$", re.IGNORECASE)

_BASE_NAMES = frozenset(
    {
        # Who and where: shells, Python and R look these up before they look at the password database.
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "LANGUAGE", "TZ"),
        # The interpreter may need its libraries and its environment to start at all. PYTHONPATH is not here:
        # it is how a gateway finds its own code, and EG does not pass it; `inherited_envs` can.
        *("LD_LIBRARY_PATH", "VIRTUAL_ENV"),
        # Folders a local kernel shares with Jupyter tools of the same account. Named one by one, because
        # JUPYTER_TOKEN and JUPYTER_GATEWAY_AUTH_TOKEN share the prefix.
        *("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnvironmentSources:
    """Everything a kernel's environment is made of."""

    gateway: Mapping[str, str] = dataclasses.field(repr=False)
    """The environment of the gateway's process."""
    inherited_envs: tuple[str, ...]
    """Names the operator lets through from `gateway`."""
    spec: Mapping[str, str] = dataclasses.field(repr=False)
    """The kernel spec's `env`; values may refer to others as `${NAME}`."""
    client: Mapping[str, str] = dataclasses.field(repr=False)
    """What `parse_client_env` kept of the request."""
    kernel_id: str
    username: str
    """In whose name the kernel runs, as the gateway decided, which may differ from what the client sent."""
    language: str
    """The kernel spec's language."""
    same_machine: bool = True
    """Whether the kernel runs where the gateway does, and so can use its `PATH`, `HOME` and the like."""


def looks_secret(name: str) -> bool:
    """Whether a variable of this name probably holds something that must not be shown."""
    return _SECRET_NAME.search(name) is not None


def parse_client_env(env: object, client_envs: tuple[str, ...]) -> dict[str, str]:
    """The variables of a start request that the client may set, checked.

    Kept are `KERNEL_*` and the names in `client_envs` (`("*",)`: any); others are dropped without a word, as
    EG does, because Jupyter servers send what they have. `KERNEL_GATEWAY` and the gateway's own names are
    dropped too.

    Args:
        env: `env` of the request's body as decoded from JSON; None when there was none.
        client_envs: names that clients may set besides `KERNEL_*`.

    Raises:
        InvalidRequest: a kept entry is malformed. The message names the variable, never its value.
    """
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise InvalidRequest("'env' must be an object whose names are variables and whose values are strings")
    kept = {name: _checked(name, value) for name, value in env.items() if _client_may_set(name, client_envs)}
    if len(kept) > MAX_ENTRIES:
        raise InvalidRequest(f"'env' has {len(kept)} variables; at most {MAX_ENTRIES} are taken")
    total = sum(len(name) + len(value.encode()) for name, value in kept.items())
    if total > MAX_TOTAL_BYTES:
        raise InvalidRequest(f"'env' is {total} bytes long; at most {MAX_TOTAL_BYTES} are taken")
    return kept


def build_environment(sources: EnvironmentSources) -> dict[str, str]:
    """The complete environment of one kernel.

    `KERNEL_ID`, `KERNEL_USERNAME` and `KERNEL_GATEWAY=1` are the gateway's to set and beat every source;
    `KERNEL_LANGUAGE` is the spec's language unless a source says otherwise. `$NAME` and `${NAME}` in the
    spec's values are replaced by what the kernel will see, without the spec's own variables; unknown names
    and shell forms such as `${KERNEL_ID:-x}` stay as they are, for a launch script to expand.
    """
    gateway = sources.gateway
    inherited = {n: gateway[n] for n in sources.inherited_envs if n in gateway and not _is_gateways_own(n)}
    base = {"KERNEL_LANGUAGE": sources.language.lower()}
    if sources.same_machine:
        base |= {n: v for n, v in gateway.items() if _is_base(n)}
    else:
        inherited = {n: v for n, v in inherited.items() if not _is_base(n)}
    decided = {
        **inherited,
        **sources.client,
        "KERNEL_ID": sources.kernel_id,
        "KERNEL_USERNAME": sources.username,
        "KERNEL_GATEWAY": "1",
    }
    visible = base | decided
    from_spec = {
        name: Template(value).safe_substitute(visible)
        for name, value in sources.spec.items()
        if not (_is_gateways_own(name) and looks_secret(name))
    }
    return base | from_spec | decided


def _is_gateways_own(name: str) -> bool:
    return name.startswith(_OWN_PREFIXES)


def _is_base(name: str) -> bool:
    return name in _BASE_NAMES or name.startswith("LC_")


def _client_may_set(name: str, client_envs: tuple[str, ...]) -> bool:
    if _is_gateways_own(name) or name == "KERNEL_GATEWAY":
        return False
    return name.startswith("KERNEL_") or name in client_envs or client_envs == ("*",)


def _checked(name: str, value: object) -> str:
    shown = repr(name[:64])
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{shown} in 'env' is not a variable name: letters, digits and '_', no digit first")
    if not isinstance(value, str):
        raise InvalidRequest(f"the value of {shown} in 'env' must be a string")
    if len(value) > MAX_VALUE_CHARS:
        raise InvalidRequest(f"the value of {shown} in 'env' is longer than {MAX_VALUE_CHARS} characters")
    if not _FORBIDDEN_IN_VALUES.isdisjoint(value):
        raise InvalidRequest(f"the value of {shown} in 'env' holds a forbidden character ({_FORBIDDEN_NAMES})")
    # JSON can spell half of a surrogate pair ("\ud800"), which no process environment can hold.
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequest(f"the value of {shown} in 'env' is not valid Unicode")
    return value
