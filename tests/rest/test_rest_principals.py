"""A token file gives each token a principal; to each of them, only its own kernels exist."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websocket
from support.channels import Channels
from support.gateway import Gateway, new_token
from support.rest import Rest, answer_of, assert_error


@dataclass
class People:
    """A gateway and what its principals may hold."""

    gateway: Gateway
    tokens: dict[str, str]

    def rest(self, name: str) -> Rest:
        return Rest(self.gateway.url, self.tokens[name])


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    tokens = {name: new_token() for name in ("ann", "ben", "root", "hub")}
    file: Path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    entries = [
        {"name": "ann", "token": tokens["ann"], "role": "user", "speaks_for_others": False},
        {"name": "ben", "token": tokens["ben"], "role": "user", "speaks_for_others": False},
        {"name": "root", "token": tokens["root"], "role": "operator", "speaks_for_others": False},
        {"name": "hub", "token": tokens["hub"], "role": "user", "speaks_for_others": True},
    ]
    file.write_text(json.dumps({"tokens": entries}))
    file.chmod(0o600)
    with Gateway(EG_TOKEN_FILE=str(file), EG_AUTH_TOKEN=None) as gateway:
        yield People(gateway.start(), tokens)
        for token in tokens.values():
            assert token not in gateway.log


@pytest.fixture(scope="module")
def anns(people: People) -> str:
    """A kernel of ann's."""
    return people.rest("ann").start_kernel()


def environment(people: People, name: str, kernel_id: str) -> dict[str, str]:
    with Channels(people.gateway.ws_url, kernel_id, token=people.tokens[name]) as client:
        code = "import json, os; print(json.dumps(dict(os.environ)))"
        return dict(json.loads(client.execute(code).text))


def test_a_list_holds_only_the_principals_own_kernels(people: People, anns: str) -> None:
    assert anns in people.rest("ann").kernel_ids()
    assert people.rest("ben").kernel_ids() == set()


@pytest.mark.parametrize(
    ("method", "route"),
    [("GET", ""), ("POST", "/interrupt"), ("POST", "/restart"), ("DELETE", "")],
)
def test_a_foreign_kernel_does_not_exist(people: People, anns: str, method: str, route: str) -> None:
    answer = people.rest("ben").request(method, f"/api/kernels/{anns}{route}")
    assert_error(answer, 404, f"Kernel does not exist: {anns}")
    assert anns in people.rest("ann").kernel_ids()


def test_a_websocket_to_a_foreign_kernel_is_a_404(people: People, anns: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        Channels(people.gateway.ws_url, anns, token=people.tokens["ben"])
    assert refused.value.status_code == 404


def test_a_foreign_kernel_cannot_be_taken_by_its_id(people: People, anns: str) -> None:
    body = {"name": "python3", "env": {"KERNEL_ID": anns}}
    answer = people.rest("ben").post("/api/kernels", json=body)
    assert answer.status_code in {403, 404, 409}
    session = {"path": "ben.ipynb", "type": "notebook", "kernel": {"id": anns}}
    assert people.rest("ben").post("/api/sessions", json=session).status_code in {400, 404, 501}


def test_sessions_are_as_private_as_kernels(people: People) -> None:
    body: dict[str, Any] = {"path": "same.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    ann, ben = people.rest("ann"), people.rest("ben")
    session = answer_of(ann.post("/api/sessions", json=body))
    path = f"/api/sessions/{session['id']}"
    assert answer_of(ben.get("/api/sessions")) == []
    assert ben.get(path).status_code == 404
    assert ben.patch(path, json={"name": "mine"}).status_code == 404
    assert ben.delete(path).status_code in {404, 410}
    bens = answer_of(ben.post("/api/sessions", json=body))
    assert bens["id"] != session["id"]
    assert bens["kernel"]["id"] != session["kernel"]["id"]
    assert ann.delete(path).status_code == 204
    assert ben.delete(f"/api/sessions/{bens['id']}").status_code == 204


def test_an_operator_sees_and_uses_every_kernel(people: People, anns: str) -> None:
    root = people.rest("root")
    assert anns in root.kernel_ids()
    assert answer_of(root.get(f"/api/kernels/{anns}"))["id"] == anns
    assert environment(people, "root", anns)["KERNEL_USERNAME"] == "ann"


def test_a_kernel_runs_under_the_name_of_its_principal(people: People, anns: str) -> None:
    assert environment(people, "ann", anns)["KERNEL_USERNAME"] == "ann"


def test_a_principal_may_say_its_own_name_and_nobody_elses(people: People) -> None:
    ann = people.rest("ann")
    own = ann.start_kernel(env={"KERNEL_USERNAME": "ann"})
    ann.shut_down(own)
    body = {"name": "python3", "env": {"KERNEL_USERNAME": "ben"}}
    assert_error(ann.post("/api/kernels", json=body), 403, "ben")
    assert_error(ann.get("/api/kernelspecs?user=ben"), 403, "ben")


def test_one_that_speaks_for_others_starts_kernels_under_their_names(people: People) -> None:
    hub = people.rest("hub")
    kernel_id = hub.start_kernel(env={"KERNEL_USERNAME": "carol"})
    assert environment(people, "hub", kernel_id)["KERNEL_USERNAME"] == "carol"
    assert kernel_id in hub.kernel_ids()
    assert kernel_id not in people.rest("ann").kernel_ids()
    hub.shut_down(kernel_id)


def test_a_token_that_is_not_in_the_file_is_a_401(people: People) -> None:
    assert_error(Rest(people.gateway.url, new_token()).get("/api/kernels"), 401)
    assert_error(Rest(people.gateway.url).get("/api/kernels"), 401)
