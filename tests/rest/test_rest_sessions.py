"""Sessions: Enterprise Gateway's simple form and jupyter_server's fields, on one set of routes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.gateway import Gateway
from support.rest import Rest, answer_of, assert_error

UNKNOWN = "00000000-0000-4000-8000-000000000000"

Model = dict[str, Any]


@pytest.fixture
def rest(gateway: Gateway) -> Rest:
    return gateway.rest


def new_path() -> str:
    return f"{uuid.uuid4()}.ipynb"


def create(rest: Rest, **body: Any) -> Model:
    answer = rest.post(
        "/api/sessions", json={"path": new_path(), "type": "notebook", "kernel": {"name": "python3"}, **body}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture
def session(rest: Rest) -> Iterator[Model]:
    """A session of the test's own; the test may end it."""
    model = create(rest)
    yield model
    rest.delete(f"/api/sessions/{model['id']}")


def test_a_session_answers_201_with_a_kernel_and_its_location(rest: Rest) -> None:
    body = {"path": new_path(), "type": "console", "name": "me", "kernel": {"name": "python3"}}
    answer = rest.post("/api/sessions", json=body)
    assert answer.status_code == 201
    model = answer.json()
    assert answer.headers["Location"] == f"/api/sessions/{model['id']}"
    assert (model["path"], model["type"], model["name"]) == (body["path"], "console", "me")
    assert model["kernel"] == answer_of(rest.get(f"/api/kernels/{model['kernel']['id']}"))
    assert rest.delete(f"/api/sessions/{model['id']}").status_code == 204


def test_the_simple_form_names_its_notebook(rest: Rest) -> None:
    path = new_path()
    answer = rest.post("/api/sessions", json={"notebook": {"path": path}, "kernel": {"name": "python3"}})
    assert answer.status_code == 201, answer.text
    model = answer.json()
    assert model["notebook"]["path"] == model["path"] == path
    assert model["type"] == "notebook"
    rest.delete(f"/api/sessions/{model['id']}")


def test_a_session_reads_the_same_alone_and_in_the_list(rest: Rest, session: Model) -> None:
    alone = answer_of(rest.get(f"/api/sessions/{session['id']}"))
    listed = {model["id"]: model for model in answer_of(rest.get("/api/sessions"))}
    assert alone["path"] == session["path"]
    assert listed[session["id"]] == alone


def test_a_second_post_for_a_path_returns_the_session_it_has(rest: Rest, session: Model) -> None:
    before = rest.kernel_ids()
    again = create(rest, path=session["path"])
    assert again["id"] == session["id"]
    assert again["kernel"]["id"] == session["kernel"]["id"]
    assert rest.kernel_ids() == before


def test_a_session_can_take_a_running_kernel(rest: Rest) -> None:
    kernel_id = rest.start_kernel()
    before = rest.kernel_ids()
    model = create(rest, kernel={"id": kernel_id})
    assert model["kernel"]["id"] == kernel_id
    assert rest.kernel_ids() == before
    assert rest.delete(f"/api/sessions/{model['id']}").status_code == 204


def test_a_patch_renames_and_keeps_the_kernel(rest: Rest, session: Model) -> None:
    changes = {"path": new_path(), "name": "renamed", "type": "file"}
    answer = rest.patch(f"/api/sessions/{session['id']}", json=changes)
    assert answer.status_code == 200
    assert changes.items() <= answer.json().items()
    assert answer.json()["id"] == session["id"]
    assert answer.json()["kernel"]["id"] == session["kernel"]["id"]
    assert answer_of(rest.get(f"/api/sessions/{session['id']}"))["path"] == changes["path"]


def test_a_patch_in_the_simple_form_renames_too(rest: Rest, session: Model) -> None:
    path = new_path()
    answer = rest.patch(f"/api/sessions/{session['id']}", json={"notebook": {"path": path}})
    assert answer_of(answer)["path"] == path


def test_a_patch_with_a_kernel_name_starts_that_kernel_and_ends_the_old_one(rest: Rest, session: Model) -> None:
    answer = rest.patch(f"/api/sessions/{session['id']}", json={"kernel": {"name": "python3"}})
    fresh = answer_of(answer)["kernel"]["id"]
    assert fresh != session["kernel"]["id"]
    assert fresh in rest.kernel_ids()
    assert session["kernel"]["id"] not in rest.kernel_ids()


def test_a_patch_with_a_kernel_id_takes_that_kernel_and_ends_the_old_one(rest: Rest, session: Model) -> None:
    other = rest.start_kernel()
    # An id wins over a name, as in jupyter_server.
    kernel = {"id": other, "name": "fortran66"}
    answer = rest.patch(f"/api/sessions/{session['id']}", json={"kernel": kernel})
    assert answer_of(answer)["kernel"]["id"] == other
    assert session["kernel"]["id"] not in rest.kernel_ids()
    assert other in rest.kernel_ids()


def test_a_patch_with_an_unknown_kernel_changes_nothing(rest: Rest, session: Model) -> None:
    answer = rest.patch(f"/api/sessions/{session['id']}", json={"kernel": {"id": UNKNOWN}})
    assert answer.status_code in {400, 404}
    assert UNKNOWN in answer.json()["message"]
    kernel = answer_of(rest.get(f"/api/sessions/{session['id']}"))["kernel"]
    assert kernel["id"] == session["kernel"]["id"]


def test_the_end_of_a_session_ends_its_kernel(rest: Rest) -> None:
    session = create(rest)
    answer = rest.delete(f"/api/sessions/{session['id']}")
    assert answer.status_code == 204
    assert not answer.content
    assert_error(rest.get(f"/api/sessions/{session['id']}"), 404, session["id"])
    assert session["kernel"]["id"] not in rest.kernel_ids()


def test_the_end_of_a_kernel_ends_its_session(rest: Rest) -> None:
    session = create(rest)
    rest.shut_down(session["kernel"]["id"])
    assert session["id"] not in {model["id"] for model in answer_of(rest.get("/api/sessions"))}
    assert rest.delete(f"/api/sessions/{session['id']}").status_code in {404, 410}


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_unknown_session_is_a_404_that_names_the_id(rest: Rest, method: str) -> None:
    assert_error(rest.request(method, f"/api/sessions/{UNKNOWN}", json={}), 404, UNKNOWN)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "notebook", "kernel": {"name": "python3"}}, "path"),
        ({"path": "a.ipynb", "kernel": {"name": "python3"}}, "type"),
        ({"path": 1, "type": "notebook"}, "path"),
        ({"path": "a.ipynb", "type": "notebook", "kernel": "python3"}, "kernel"),
    ],
)
def test_a_body_without_a_field_or_with_a_wrong_one_is_a_400_that_names_it(rest: Rest, body: Model, field: str) -> None:
    assert_error(rest.post("/api/sessions", json=body), 400, field)


def test_a_post_without_a_body_is_a_400(rest: Rest) -> None:
    assert_error(rest.post("/api/sessions"), 400)


def test_an_unknown_spec_is_refused_by_name_and_leaves_no_session(rest: Rest) -> None:
    path = new_path()
    body = {"path": path, "type": "notebook", "kernel": {"name": "fortran66"}}
    answer = rest.post("/api/sessions", json=body)
    assert answer.status_code in {404, 501}
    assert "fortran66" in answer.json()["message"]
    assert path not in rest.get("/api/sessions").text


def test_an_unchanged_list_of_sessions_is_not_sent_again(rest: Rest) -> None:
    first = rest.get("/api/sessions")
    again = rest.get("/api/sessions", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
