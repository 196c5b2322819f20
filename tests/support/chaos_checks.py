"""What must be true of everything that a client under chaos was sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from support.channels import Message
from support.chaos_client import LINES, Client, Outcome
from support.chaos_history import History

DEATH_SECONDS = 5.0
"""How long a kernel that was killed may still fail cells that are sent to it."""

Line = dict[str, Any]


def violations(client: Client, kernel_id: str, sessions: set[str], history: History) -> Iterator[str]:
    """What is wrong with what a client of a kernel was sent; the kernel has these sessions."""
    try:
        messages = client.messages()
    except AssertionError as error:
        yield f"client {client.session}: {error}"
        return
    lines = {msg_id: [json.loads(line) for line in text.split("\n")[:-1]] for msg_id, text in texts(messages).items()}
    yield from replies_of_others(client, messages)
    yield from broken_cells(client, lines)
    yield from foreign_lines(lines, kernel_id, sessions)
    yield from cells_out_of_order(lines, sessions)
    yield from wrong_outcomes(client, lines)
    yield from unexplained_failures(client, kernel_id, history)


def texts(messages: list[Message]) -> dict[str, str]:
    """What each request printed."""
    printed: dict[str, str] = {}
    for message in messages:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            parent = message["parent_header"]["msg_id"]
            printed[parent] = printed.get(parent, "") + message["content"]["text"]
    return printed


def replies_of_others(client: Client, messages: list[Message]) -> Iterator[str]:
    for message in messages:
        if message["channel"] == "shell" and message["parent_header"].get("session") != client.session:
            yield f"a reply to somebody else: {message}"


def broken_cells(client: Client, lines: dict[str, list[Line]]) -> Iterator[str]:
    """Each cell's lines come from the first on, in order; the other session may have begun one before this one came."""
    known = {client.session}
    for printed in lines.values():
        first = printed[0]["line"] if printed and printed[0]["session"] not in known else 0
        if [line["line"] for line in printed] != list(range(first, first + len(printed))):
            yield f"lines out of order: {printed}"
        known |= {line["session"] for line in printed}


def foreign_lines(lines: dict[str, list[Line]], kernel_id: str, sessions: set[str]) -> Iterator[str]:
    for printed in lines.values():
        for line in printed:
            if line["kernel"] != kernel_id or line["session"] not in sessions:
                yield f"output of another kernel or session: {line}"
            if line["runs"] != 1:
                yield f"a cell ran {line['runs']} times: {line}"


def cells_out_of_order(lines: dict[str, list[Line]], sessions: set[str]) -> Iterator[str]:
    """Each cell of a session has run once, after the one before it; the other sessions' cells are seen too."""
    for session in sessions:
        cells = [printed[0]["cell"] for printed in lines.values() if printed and printed[0]["session"] == session]
        if cells != sorted(set(cells)):
            yield f"cells of {session} ran twice or out of order: {cells}"


def wrong_outcomes(client: Client, lines: dict[str, list[Line]]) -> Iterator[str]:
    for cell in client.cells:
        printed = lines.get(cell.msg_id, [])
        if cell.outcome is Outcome.OK and len(printed) != LINES:
            yield f"{cell} was answered, and printed {printed}"


def unexplained_failures(client: Client, kernel_id: str, history: History) -> Iterator[str]:
    for cell in client.cells:
        since = cell.sent - DEATH_SECONDS
        killed = history.happened(kernel_id, "kill kernel", since) or history.happened(kernel_id, "kill agent", since)
        if cell.outcome is Outcome.FAILED and not killed:
            yield f"{cell} failed although nobody killed its kernel"
