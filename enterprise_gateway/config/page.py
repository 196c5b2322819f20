"""The settings as text for people: docs/configuration.md and the file `--generate-config` writes.

    python -m enterprise_gateway.config.page > docs/configuration.md

Pure but for that last step.
"""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from enterprise_gateway.config.names import IGNORED
from enterprise_gateway.config.option import Field, Group, table
from enterprise_gateway.config.settings import Settings

_HEAD = """\
# Configuration

<!-- Generated: python -m enterprise_gateway.config.page > docs/configuration.md -->

Every setting can be given in three ways. The first one that gives it counts:

1. on the command line: `jupyter enterprisegateway --EnterpriseGatewayApp.port=9000`, for some also shorter
   (`--port=9000`, see `--help`);
2. in a configuration file, `jupyter_enterprise_gateway_config.py` or `.json`, in a folder that
   `jupyter --paths` lists under *config*, or wherever `--config` says: `c.EnterpriseGatewayApp.port = 9000`.
   `jupyter enterprisegateway --generate-config` writes one with everything in it;
3. in the environment: `EG_PORT=9000`. Of several names the first that is set counts. Where an empty value
   would make no sense, an empty variable is as good as unset.

A value that cannot be read stops the gateway with a message that names it and says what would be right.
A name nobody knows is an error on the command line and a warning elsewhere. `--show-config` shows what is
set, and where.

Durations are seconds. Sizes are bytes, or written as `64KiB`, `64MiB` and so on. Items of lists are separated
by commas.
"""

_TAIL = """\
## Accepted without effect

Enterprise Gateway and its start scripts know these names too. Setting one is logged and changes nothing.
"""


def render() -> str:
    """The page docs/configuration.md."""
    parts = [_HEAD]
    for group in Group:
        rows = [_row(field) for field in table(Settings) if field.option.group is group]
        head = ["| Setting | Environment | Default | What it does |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {group.value}", "", *head, *rows, ""]))
    parts.append(_TAIL)
    for ignored in IGNORED:
        names = ", ".join(f"`{name}`" for name in ignored.names)
        parts.append(f"No effect {ignored.why}: {names}.\n")
    return "\n".join(parts)


def config_file() -> str:
    """A Python configuration file in which every setting stands with its default, commented out."""
    lines = ["# Configuration of Jupyter Enterprise Gateway.", "", "c = get_config()  # noqa: F821", ""]
    for group in Group:
        lines += [f"# {'-' * 76}", f"# {group.value}", f"# {'-' * 76}", ""]
        for field in table(Settings):
            if field.option.group is group:
                text = f"{field.option.help} Environment: {', '.join(field.option.env)}."
                lines += textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ")
                lines += [f"# c.{field.trait} = {field.plain_default!r}", ""]
    return "\n".join(lines)


def _row(field: Field) -> str:
    older = "".join(f"<br>`{trait}`" for trait in field.option.traits)
    env = "<br>".join(f"`{name}`" for name in field.option.env)
    return f"| `{field.name}`{older} | {env} | {_shown(field.plain_default)} | {field.option.help} |"


def _shown(plain: Any) -> str:
    if plain is None:
        return "unset"
    if plain in ("", []):
        return "empty"
    return f"`{','.join(plain) if isinstance(plain, list) else plain}`"


if __name__ == "__main__":
    sys.stdout.write(render())
