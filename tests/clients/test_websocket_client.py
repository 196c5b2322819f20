"""The channels through `websocket-client`: each framing Jupyter has, and each liberty old clients take."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import websocket
from support.channels import V1, Channels, Execution, Message
from support.gateway import Gateway

SUBPROTOCOLS = [pytest.param((), id="legacy"), pytest.param((V1,), id="v1")]
LARGE = 16 * 1024 * 1024

ECHO = """
def echo(comm, opened):
    @comm.on_msg
    def answer(message):
        comm.send(message["content"]["data"], buffers=[bytes(b)[::-1] for b in message["buffers"]])
get_ipython().kernel.comm_manager.register_target("echo", echo)
"""


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_code_runs_and_its_output_comes_in_order(gateway: Gateway, kernel_id: str, subprotocols: Sequence[str]) -> None:
    with Channels.of(gateway, kernel_id, subprotocols=subprotocols) as client:
        execution = client.execute("for i in range(500): print(i, flush=True)\n'done'")
    assert execution.text == "".join(f"{i}\n" for i in range(500))
    assert execution.reply["status"] == "ok"
    assert execution.of("execute_result")[0]["content"]["data"]["text/plain"] == "'done'"
    kinds = [m["msg_type"] for m in execution.messages if m["channel"] == "iopub"]
    assert kinds[:2] == ["status", "execute_input"]
    assert kinds[-1] == "status"


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_each_message_says_its_channel(gateway: Gateway, kernel_id: str, subprotocols: Sequence[str]) -> None:
    with Channels.of(gateway, kernel_id, subprotocols=subprotocols) as client:
        execution = client.execute("print(1)")
        asking = client.send("control", "kernel_info_request", {})
        info = client.recv_until(lambda m: m["msg_type"] == "kernel_info_reply")[-1]
    channels = {m["msg_type"]: m["channel"] for m in execution.messages}
    assert channels == {
        "status": "iopub",
        "execute_input": "iopub",
        "stream": "iopub",
        "execute_reply": "shell",
    }
    assert info["channel"] == "control"
    assert info["parent_header"]["msg_id"] == asking


def test_legacy_messages_repeat_id_and_type_at_the_top(gateway: Gateway, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id) as client:
        for message in client.execute("print(1)").messages:
            assert message["msg_id"] == message["header"]["msg_id"]
            assert message["msg_type"] == message["header"]["msg_type"]
            assert message["buffers"] == []


def test_v1_is_selected_when_offered_and_nothing_otherwise(gateway: Gateway, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id) as client:
        assert client.socket.subprotocol is None
    with Channels.of(gateway, kernel_id, subprotocols=["other", V1]) as client:
        assert client.socket.subprotocol == V1


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_buffers_pass_both_ways_unchanged(gateway: Gateway, kernel_id: str, subprotocols: Sequence[str]) -> None:
    buffers = [bytes(range(256)) * 40, b"", b"\x00last"]
    comm = uuid.uuid4().hex
    with Channels.of(gateway, kernel_id, subprotocols=subprotocols) as client:
        client.execute(ECHO)
        client.send("shell", "comm_open", {"comm_id": comm, "target_name": "echo", "data": {}})
        client.send("shell", "comm_msg", {"comm_id": comm, "data": {"a": 1}}, buffers)
        answer = client.recv_until(lambda message: message["msg_type"] == "comm_msg")[-1]
    assert answer["content"]["data"] == {"a": 1}
    assert answer["buffers"] == [buffer[::-1] for buffer in buffers]


def test_legacy_frames_are_text_without_buffers_and_binary_with_them(gateway: Gateway, kernel_id: str) -> None:
    comm = uuid.uuid4().hex
    opcodes: dict[str, int] = {}
    with Channels.of(gateway, kernel_id) as client:
        client.execute(ECHO)
        client.send("shell", "comm_open", {"comm_id": comm, "target_name": "echo", "data": {}})
        client.send("shell", "comm_msg", {"comm_id": comm, "data": {}}, [b"buffer"])
        while "comm_msg" not in opcodes:
            opcode, frame = client.socket.recv_data()
            text = opcode == websocket.ABNF.OPCODE_TEXT
            opcodes[json.loads(frame)["msg_type"] if text else "comm_msg"] = opcode
    assert opcodes.pop("comm_msg") == websocket.ABNF.OPCODE_BINARY
    assert set(opcodes.values()) == {websocket.ABNF.OPCODE_TEXT}


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_a_16_mib_message_passes_both_ways(gateway: Gateway, kernel_id: str, subprotocols: Sequence[str]) -> None:
    data = {"text": "x" * LARGE}
    comm = uuid.uuid4().hex
    # The package checks UTF-8 byte by byte in Python, which would take ten seconds.
    options = {"subprotocols": subprotocols, "skip_utf8_validation": True}
    with Channels.of(gateway, kernel_id, **options) as client:
        client.execute(ECHO)
        client.send("shell", "comm_open", {"comm_id": comm, "target_name": "echo", "data": {}})
        client.send("shell", "comm_msg", {"comm_id": comm, "data": data})
        answer = client.recv_until(lambda message: message["msg_type"] == "comm_msg")[-1]
    assert answer["content"]["data"] == data


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_input_is_asked_for_and_answered(gateway: Gateway, kernel_id: str, subprotocols: Sequence[str]) -> None:
    with Channels.of(gateway, kernel_id, subprotocols=subprotocols) as client:
        asking = client.send_code("print('hello ' + input('who? '))", allow_stdin=True)
        question = client.recv_until(lambda message: message["msg_type"] == "input_request")[-1]
        assert question["channel"] == "stdin"
        assert question["content"]["prompt"] == "who? "
        client.send("stdin", "input_reply", {"value": "world"})
        assert client.recv_execution(asking).text == "hello world\n"


def test_a_ping_is_answered_with_its_payload(gateway: Gateway, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id) as client:
        client.socket.ping("are you there?")
        opcode, payload = client.socket.recv_data(control_frame=True)
        while opcode != websocket.ABNF.OPCODE_PONG:
            opcode, payload = client.socket.recv_data(control_frame=True)
    assert payload == b"are you there?"


def drop_channel(message: Message) -> Message:
    del message["channel"]
    return message


def dict_of_buffers(message: Message) -> Message:
    return {**message, "buffers": {}}


def no_buffers(message: Message) -> Message:
    del message["buffers"]
    return message


def empty_session(message: Message) -> Message:
    return {**message, "header": {**message["header"], "session": "", "version": "5.0"}}


def no_date(message: Message) -> Message:
    del message["header"]["date"]
    return message


def extra_fields(message: Message) -> Message:
    return {**message, "msg_id": message["header"]["msg_id"], "msg_type": "execute_request", "unknown": [1]}


@pytest.mark.parametrize("change", [drop_channel, dict_of_buffers, no_buffers, empty_session, no_date, extra_fields])
@pytest.mark.parametrize("session_id", [None, "", "fixed"])
def test_liberties_of_old_clients_are_taken(
    gateway: Gateway, kernel_id: str, change: Any, session_id: str | None
) -> None:
    request = {"code": "print('fine')", "silent": False}
    with Channels.of(gateway, kernel_id, session_id=session_id) as client:
        message = change(client.message("shell", "execute_request", request))
        client.socket.send(json.dumps(message))
        assert client.recv_execution(message["header"]["msg_id"]).text == "fine\n"


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        "[]",
        "{}",
        '{"channel": "nowhere", "header": {}}',
        '{"channel": "shell", "header": 1, "parent_header": {}, "metadata": {}, "content": {}}',
        b"\x00",
        pytest.param(b"\xff" * 64, id="offsets beyond the frame"),
        b"\x00\x00\x00\x02\x00\x00\x00\x08\x00\x00\x00\x04",
    ],
)
def test_a_frame_of_nonsense_harms_nobody_else(gateway: Gateway, kernel_id: str, frame: str | bytes) -> None:
    with Channels.of(gateway, kernel_id) as other, Channels.of(gateway, kernel_id) as client:
        if isinstance(frame, str):
            client.socket.send(frame)
        else:
            client.socket.send_binary(frame)
        assert other.execute("print('fine')").text == "fine\n"
    with Channels.of(gateway, kernel_id) as client:
        assert client.execute("print('fine')").text == "fine\n"


@pytest.mark.parametrize("subprotocols", SUBPROTOCOLS)
def test_two_clients_see_all_output_and_only_their_own_replies(
    gateway: Gateway, kernel_id: str, subprotocols: Sequence[str]
) -> None:
    with (
        Channels.of(gateway, kernel_id, subprotocols=subprotocols) as first,
        Channels.of(gateway, kernel_id) as second,
    ):
        request = first.send_code("print('from the first')")
        assert first.recv_execution(request).text == "from the first\n"
        seen = second.recv_until(
            lambda m: m["parent_header"].get("msg_id") == request and m["content"].get("execution_state") == "idle"
        )
        marker = second.send_code("print('from the second')")
        rest = second.recv_execution(marker)
    assert Execution(seen).text == "from the first\n"
    assert rest.text == "from the second\n"
    assert not [m for m in seen if m["channel"] == "shell" and m["parent_header"].get("msg_id") == request]
