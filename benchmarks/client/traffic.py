"""One client, one kernel: round trips, floods of output, the list of kernels. One thread, blocking."""

from __future__ import annotations

import json
import re
import socket
import time
from statistics import median
from typing import Any

from benchmarks.client.transports import Peer, Transport, connect
from benchmarks.rest import Rest

WARM_UP = 50
LARGEST_READ = 1 << 18
CONTENT_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)

Result = dict[str, Any]


def request_execute(transport: Transport, code: str) -> str:
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    return transport.send("shell", "execute_request", content)


def execute(transport: Transport, code: str) -> None:
    """Send an execute_request and wait for both its reply and idle."""
    msg_id = request_execute(transport, code)
    replied = idle = False
    while not (replied and idle):
        for message in transport.receive():
            if message.parent_id == msg_id:
                replied = replied or message.msg_type == "execute_reply"
                idle = idle or message.says_idle()


def until_heard(transport: Transport) -> None:
    """Ask until iopub answers too: what a kernel publishes before a subscription arrives is nobody's loss."""
    heard = False
    while not heard:
        transport.send("shell", "kernel_info_request", {})
        replied = False
        while not replied:
            for message in transport.receive():
                heard = heard or message.says_idle()
                replied = replied or message.msg_type == "kernel_info_reply"


def ask(peer: Peer, code: str) -> Result:
    """What `code` writes to stdout."""
    transport = connect(peer)
    until_heard(transport)
    msg_id = request_execute(transport, code)
    text = ""
    while True:
        for message in transport.receive():
            if message.parent_id == msg_id and message.msg_type == "stream":
                text += json.loads(bytes(message.content))["text"]
            elif message.parent_id == msg_id and message.says_idle():
                return {"text": text}


def roundtrip(peer: Peer, code: str, count: int) -> Result:
    """Seconds from sending an execute_request until both its reply and idle are here: percentiles."""
    transport = connect(peer)
    until_heard(transport)
    seconds = []
    for _ in range(WARM_UP + count):
        start = time.perf_counter()
        execute(transport, code)
        seconds.append(time.perf_counter() - start)
    ranked = sorted(seconds[WARM_UP:])
    return {"p50": ranked[count // 2], "p99": ranked[count * 99 // 100]}


def flood(peer: Peer, msg_type: str, size: int, count: int) -> Result:
    """One cell's output: rate from the first send until the last message is here, loss, disorder, CPU.

    The kernel tells in its reply when it began; `time.monotonic` is one clock for all processes.
    """
    transport = connect(peer)
    until_heard(transport)
    command = "stream" if msg_type == "stream" else "display"
    cpu = time.process_time()
    msg_id = request_execute(transport, f"{command} {count} {size}")
    received = misplaced = 0
    last = began = 0.0
    idle = False
    while not (idle and began):
        for message in transport.receive():
            if message.parent_id != msg_id:
                continue
            if message.msg_type == msg_type:
                misplaced += int(message.msg_id.rpartition("-")[2]) != received or len(message.content) < size
                received += 1
            elif message.msg_type == "execute_reply":
                began = json.loads(bytes(message.content))["began"]
            elif message.says_idle():
                idle = True
                last = time.monotonic()
    return {
        "messages_per_second": received / (last - began),
        "bytes_per_second": received * size / (last - began),
        "lost": count - received,
        "misplaced": misplaced,
        "client_cpu_per_message": (time.process_time() - cpu) / count,
    }


def listing(rest: Rest, seconds: float, pause: float = 0.0) -> Result:
    """GET /api/kernels on one connection, one request at a time and `pause` seconds apart; once at least."""
    head = f"GET /api/kernels HTTP/1.1\r\nHost: {rest.host}\r\nAuthorization: token {rest.token}\r\n\r\n"
    query = head.encode()
    connection = socket.create_connection((rest.host, rest.port), 30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start, cpu = time.perf_counter(), time.process_time()
    taken: list[float] = []
    size = 0
    while not taken or time.perf_counter() - start < seconds:
        time.sleep(pause)
        asked = time.perf_counter()
        connection.sendall(query)
        size = read_answer(connection)
        taken.append(time.perf_counter() - asked)
    return {
        "per_second": len(taken) / sum(taken),
        "p50": median(taken),
        "longest": max(taken),
        "answers": len(taken),
        "bytes": size,
        "client_cpu": (time.process_time() - cpu) / len(taken),
    }


def read_answer(connection: socket.socket) -> int:
    """Take one HTTP answer with a Content-Length off the connection; returns the length of its body."""
    answer = connection.recv(LARGEST_READ)
    while (head := answer.find(b"\r\n\r\n")) < 0:
        answer += connection.recv(LARGEST_READ)
    if not answer.startswith(b"HTTP/1.1 200") or not (length := CONTENT_LENGTH.search(answer, 0, head)):
        raise RuntimeError(answer[:head].decode())
    size = int(length[1])
    missing = head + 4 + size - len(answer)
    while missing > 0:
        missing -= len(connection.recv(LARGEST_READ))
    return size
