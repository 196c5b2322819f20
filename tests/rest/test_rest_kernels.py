"""The life of a kernel as a stock REST client leads it: exact statuses, exact models."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import websocket
from support.channels import Channels
from support.gateway import Gateway
from support.rest import Rest, answer_of, assert_error
from support.wait import eventually

UNKNOWN = "00000000-0000-4000-8000-000000000000"
LAST_ACTIVITY = "%Y-%m-%dT%H:%M:%S.%fZ"


@pytest.fixture
def rest(gateway: Gateway) -> Rest:
    return gateway.rest


def test_a_start_answers_201_with_the_model_and_its_location(rest: Rest) -> None:
    answer = rest.post("/api/kernels", json={"name": "python3"})
    assert answer.status_code == 201
    model = answer.json()
    uuid.UUID(model["id"])
    assert model["name"] == "python3"
    assert answer.headers["Location"] == f"/api/kernels/{model['id']}"
    assert model["id"] in rest.kernel_ids()
    rest.shut_down(model["id"])
    assert model["id"] not in rest.kernel_ids()


@pytest.mark.parametrize("body", [None, "", "{}", '{"name": null, "path": null, "env": null}'])
def test_a_start_without_a_name_takes_the_default_kernel(rest: Rest, body: str | None) -> None:
    answer = rest.post("/api/kernels", data=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "python3"
    rest.shut_down(answer.json()["id"])


def test_a_model_has_the_fields_clients_read(rest: Rest, kernel_id: str) -> None:
    model = answer_of(rest.get(f"/api/kernels/{kernel_id}"))
    assert model["id"] == kernel_id
    assert model["name"] == "python3"
    assert model["execution_state"] in {"starting", "idle", "busy"}
    assert model["connections"] == 0
    assert model in answer_of(rest.get("/api/kernels"))


def test_last_activity_has_exactly_the_format_jupyter_server_parses(rest: Rest, kernel_id: str) -> None:
    text = answer_of(rest.get(f"/api/kernels/{kernel_id}"))["last_activity"]
    moment = datetime.strptime(text, LAST_ACTIVITY).replace(tzinfo=UTC)
    assert moment.strftime(LAST_ACTIVITY) == text
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=10)


def test_the_model_counts_connections_and_tells_busy_from_idle(gateway: Gateway, rest: Rest, kernel_id: str) -> None:
    def model() -> tuple[str, int]:
        answer = answer_of(rest.get(f"/api/kernels/{kernel_id}"))
        return answer["execution_state"], answer["connections"]

    with Channels.of(gateway, kernel_id) as client:
        asking = client.send_code("input()", allow_stdin=True)
        client.recv_until(lambda message: message["msg_type"] == "input_request")
        eventually(lambda: model() == ("busy", 1))
        client.send("stdin", "input_reply", {"value": ""})
        client.recv_execution(asking)
        eventually(lambda: model() == ("idle", 1))
    eventually(lambda: model() == ("idle", 0))


def test_an_interrupt_answers_204_and_reaches_running_code(gateway: Gateway, rest: Rest, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id) as client:
        running = client.send_code("print('on', flush=True)\nwhile True: pass")
        client.recv_until(lambda message: message["msg_type"] == "stream")
        answer = rest.post(f"/api/kernels/{kernel_id}/interrupt", json={})
        assert answer.status_code == 204
        assert not answer.content
        assert client.recv_execution(running).reply["ename"] == "KeyboardInterrupt"


def test_a_restart_answers_200_keeps_the_id_and_clears_the_state(gateway: Gateway, rest: Rest, kernel_id: str) -> None:
    with Channels.of(gateway, kernel_id) as client:
        client.execute("kept = 1")
    answer = rest.post(f"/api/kernels/{kernel_id}/restart", json={})
    assert answer.status_code == 200
    assert answer.json()["id"] == kernel_id
    with Channels.of(gateway, kernel_id) as client:
        assert client.execute("kept").reply["ename"] == "NameError"


def test_a_websocket_open_during_a_restart_hears_of_it_and_goes_on(
    gateway: Gateway, rest: Rest, kernel_id: str
) -> None:
    with Channels.of(gateway, kernel_id) as client:
        client.execute("kept = 1")
        assert rest.post(f"/api/kernels/{kernel_id}/restart").status_code == 200
        assert client.execute("kept").reply["ename"] == "NameError"


def test_a_deleted_kernel_is_gone_for_every_route(rest: Rest) -> None:
    kernel_id = rest.start_kernel()
    answer = rest.delete(f"/api/kernels/{kernel_id}")
    assert answer.status_code == 204
    assert not answer.content
    assert_error(rest.get(f"/api/kernels/{kernel_id}"), 404, kernel_id)


@pytest.mark.parametrize(
    ("method", "route"),
    [("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")],
)
def test_an_unknown_kernel_is_a_404_that_names_the_id(rest: Rest, method: str, route: str) -> None:
    answer = rest.request(method, f"/api/kernels/{UNKNOWN}{route}")
    assert_error(answer, 404, f"Kernel does not exist: {UNKNOWN}")


def test_a_websocket_to_an_unknown_kernel_is_a_404(gateway: Gateway) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Channels.of(gateway, UNKNOWN)
    assert refused.value.status_code == 404


def test_an_unknown_spec_is_a_404_and_starts_nothing(rest: Rest) -> None:
    before = rest.kernel_ids()
    assert_error(rest.post("/api/kernels", json={"name": "fortran66"}), 404, "fortran66")
    assert rest.kernel_ids() == before


def test_a_retry_with_the_same_kernel_id_gets_the_same_kernel(rest: Rest) -> None:
    before = rest.kernel_ids()
    chosen = str(uuid.uuid4())
    body = {"name": "python3", "env": {"KERNEL_ID": chosen}}
    first, second = rest.post("/api/kernels", json=body), rest.post("/api/kernels", json=body)
    assert first.status_code == second.status_code == 201, second.text
    assert first.json()["id"] == second.json()["id"] == chosen
    assert rest.kernel_ids() - before == {chosen}
    rest.shut_down(chosen)


@pytest.mark.parametrize("chosen", ["1", "../../etc", "00000000-0000-0000-0000-00000000000g"])
def test_a_kernel_id_that_is_no_uuid_is_refused(rest: Rest, chosen: str) -> None:
    body = {"name": "python3", "env": {"KERNEL_ID": chosen}}
    assert_error(rest.post("/api/kernels", json=body), 400, "KERNEL_ID")


def test_a_kernel_runs_in_the_folder_of_its_path(gateway: Gateway, rest: Rest) -> None:
    folder = gateway.root_dir / "some folder"
    folder.mkdir(exist_ok=True)
    kernel_id = rest.start_kernel(path="some folder/missing/notebook.ipynb")
    with Channels.of(gateway, kernel_id) as client:
        assert client.execute("import os; print(os.getcwd())").text == f"{folder}\n"
    rest.shut_down(kernel_id)


def test_an_unchanged_list_is_not_sent_again(rest: Rest, kernel_id: str) -> None:
    def unchanged() -> bool:
        first = rest.get("/api/kernels")
        assert kernel_id in first.text
        again = rest.get("/api/kernels", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code in {200, 304}
        assert (again.status_code == 304) == (not again.content)
        return again.status_code == 304

    # A kernel that was just used may still be settling to idle.
    eventually(unchanged)


def test_a_changed_list_is_sent_again(rest: Rest, kernel_id: str) -> None:
    tag = rest.get("/api/kernels").headers["ETag"]
    another = rest.start_kernel()
    answer = rest.get("/api/kernels", headers={"If-None-Match": tag})
    assert {kernel_id, another} <= {kernel["id"] for kernel in answer_of(answer)}
    rest.shut_down(another)
