"""Kernel specs as a stock REST client reads them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from support.gateway import Gateway
from support.rest import Rest, answer_of, assert_error

BOBS = {"metadata": {"process_proxy": {"config": {"authorized_users": "bob"}}}}
"""A spec that bob alone may use."""


@pytest.fixture(scope="module")
def specs_gateway() -> Iterator[Gateway]:
    with Gateway(kernelspecs={"Bobs_Kernel": BOBS}) as gateway:
        yield gateway.start()


@pytest.fixture
def rest(specs_gateway: Gateway) -> Rest:
    return specs_gateway.rest


def test_the_list_names_a_default_that_it_contains(rest: Rest) -> None:
    listing = answer_of(rest.get("/api/kernelspecs"))
    assert listing["default"] == "python3"
    assert listing["default"] in listing["kernelspecs"]


def test_every_listed_spec_has_what_jupyterlab_validates(rest: Rest) -> None:
    for name, model in answer_of(rest.get("/api/kernelspecs"))["kernelspecs"].items():
        assert model["name"] == name
        assert isinstance(model["resources"], dict)
        spec = model["spec"]
        assert isinstance(spec["argv"], list)
        assert isinstance(spec["display_name"], str)
        assert isinstance(spec["language"], str)
        assert isinstance(spec["metadata"], dict)
        assert isinstance(spec["env"], dict)


def test_one_spec_is_the_same_as_in_the_list(rest: Rest) -> None:
    listed = answer_of(rest.get("/api/kernelspecs"))["kernelspecs"]["python3"]
    assert answer_of(rest.get("/api/kernelspecs/python3")) == listed


def test_names_are_lower_cased_folder_names(rest: Rest) -> None:
    assert "bobs_kernel" in answer_of(rest.get("/api/kernelspecs"))["kernelspecs"]
    assert answer_of(rest.get("/api/kernelspecs/bobs_kernel"))["spec"]["display_name"] == "Bobs_Kernel"


def test_an_unknown_spec_is_a_404_that_names_it(rest: Rest) -> None:
    assert_error(rest.get("/api/kernelspecs/fortran66"), 404, "fortran66")


def test_every_resource_of_a_spec_can_be_fetched(rest: Rest) -> None:
    resources = answer_of(rest.get("/api/kernelspecs/python3"))["resources"]
    assert {"logo-32x32", "logo-64x64"} <= resources.keys()
    for name, path in resources.items():
        assert urlsplit(path).path.startswith(f"/kernelspecs/python3/{name}.")
        assert rest.get(path).content
    png = rest.get(resources["logo-64x64"])
    assert png.headers["Content-Type"] == "image/png"
    assert png.content.startswith(b"\x89PNG")


def test_head_of_a_resource_has_its_length_and_no_body(rest: Rest) -> None:
    path = "/kernelspecs/python3/logo-64x64.png"
    answer = rest.request("HEAD", path)
    assert answer.status_code == 200
    assert not answer.content
    assert int(answer.headers["Content-Length"]) == len(rest.get(path).content)


@pytest.mark.parametrize(
    "path", ["logo-1x1.png", "../kernel.json/x", "..%2f..%2fpython3%2fkernel.json%2fx", "%2fetc%2fpasswd"]
)
def test_a_resource_outside_the_folder_or_missing_is_a_404(rest: Rest, path: str) -> None:
    assert rest.get(f"/kernelspecs/python3/{path}").status_code == 404


def test_the_user_filter_drops_what_the_user_may_not_start(rest: Rest) -> None:
    anns = answer_of(rest.get("/api/kernelspecs?user=ann"))["kernelspecs"]
    bobs = answer_of(rest.get("/api/kernelspecs?user=bob"))["kernelspecs"]
    assert "bobs_kernel" not in anns
    assert {"bobs_kernel", "python3"} <= bobs.keys()


def test_a_filtered_spec_is_a_403_for_the_user(rest: Rest) -> None:
    assert_error(rest.get("/api/kernelspecs/bobs_kernel?user=ann"), 403, "ann")
    assert answer_of(rest.get("/api/kernelspecs/bobs_kernel?user=bob"))["name"] == "bobs_kernel"


def test_a_name_glued_behind_the_user_means_that_spec(rest: Rest) -> None:
    """jupyter_server with KERNEL_USERNAME builds its URLs this way."""
    assert answer_of(rest.get("/api/kernelspecs?user=bob/python3"))["name"] == "python3"
    assert_error(rest.get("/api/kernelspecs?user=ann/bobs_kernel"), 403, "ann")
    assert_error(rest.get("/api/kernelspecs?user=bob/fortran66"), 404, "fortran66")


def test_a_filtered_spec_cannot_be_started_by_the_user(rest: Rest) -> None:
    body = {"name": "bobs_kernel", "env": {"KERNEL_USERNAME": "ann"}}
    assert_error(rest.post("/api/kernels", json=body), 403, "ann")
    assert rest.kernel_ids() == set()


def test_the_list_is_not_sent_again_to_who_has_it(rest: Rest) -> None:
    first = rest.get("/api/kernelspecs")
    again = rest.get("/api/kernelspecs", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert not again.content
