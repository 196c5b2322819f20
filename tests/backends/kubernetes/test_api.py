"""Requests to an API server that is slow, busy, broken or gone."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

import pytest
from fakes.api_server import FakeApi

from enterprise_gateway.backends.kubernetes import api as api_module
from enterprise_gateway.backends.kubernetes.answers import (
    ApiError,
    ApiUnavailable,
    Bookmark,
    EventType,
    Expired,
    WatchEvent,
)
from enterprise_gateway.backends.kubernetes.api import KubernetesApi, Timeouts
from enterprise_gateway.backends.kubernetes.objects import Pod
from enterprise_gateway.errors import BackendUnavailable, ConfigError

PODS = "/api/v1/namespaces/kernels/pods"
SECRETS = "/api/v1/namespaces/kernels/secrets"


def pod(name: str, **metadata: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": {"containers": []}}


async def test_an_object_is_created_read_patched_and_deleted(fake: FakeApi, api: KubernetesApi) -> None:
    created = await api.create(PODS, pod("a", labels={"component": "kernel"}), Pod)
    assert (created.metadata.name, created.status.phase) == ("a", "Pending")
    assert await api.get(f"{PODS}/a", Pod) == created

    patch = {"metadata": {"resourceVersion": created.metadata.resource_version, "annotations": {"seen": "yes"}}}
    patched = await api.patch(f"{PODS}/a", patch, Pod)
    assert patched.metadata.annotations == {"seen": "yes"}

    await api.delete(f"{PODS}/a", uid=created.metadata.uid)
    assert not fake.pods


async def test_a_client_knows_its_namespace_and_server(fake: FakeApi, api: KubernetesApi) -> None:
    assert (api.namespace, api.server) == ("kernels", fake.server)


async def test_refusals_carry_the_words_of_the_api_server(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("create", "pods", 403, "Forbidden", "exceeded quota: kernels, requested: pods=1")
    with pytest.raises(ApiError, match="exceeded quota: kernels") as refused:
        await api.create(PODS, pod("a"), Pod)
    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")


async def test_a_name_that_is_taken_is_refused(api: KubernetesApi) -> None:
    await api.create(PODS, pod("a"), Pod)
    with pytest.raises(ApiError) as refused:
        await api.create(PODS, pod("a"), Pod)
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")


async def test_a_patch_of_an_old_version_is_refused(api: KubernetesApi) -> None:
    created = await api.create(PODS, pod("a"), Pod)
    patch = {"metadata": {"resourceVersion": created.metadata.resource_version, "annotations": {"n": "1"}}}
    await api.patch(f"{PODS}/a", patch, Pod)
    with pytest.raises(ApiError) as refused:
        await api.patch(f"{PODS}/a", {**patch, "spec": {}}, Pod)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")


async def test_deleting_what_is_gone_is_no_error(api: KubernetesApi) -> None:
    await api.delete(f"{PODS}/never-was")


async def test_a_delete_with_a_uid_spares_the_next_object_of_that_name(fake: FakeApi, api: KubernetesApi) -> None:
    first = await api.create(PODS, pod("a"), Pod)
    await api.delete(f"{PODS}/a")
    await api.create(PODS, pod("a"), Pod)
    await api.delete(f"{PODS}/a", uid=first.metadata.uid)
    assert "a" in fake.pods


async def test_a_conflict_of_a_delete_without_a_uid_is_an_error(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("delete", "pods", 409, "Conflict", "a webhook says no")
    with pytest.raises(ApiError, match="a webhook says no"):
        await api.delete(f"{PODS}/a")


async def test_grace_is_the_callers_choice(fake: FakeApi, api: KubernetesApi) -> None:
    await api.create(PODS, pod("a"), Pod)
    fake.schedule("a")
    await api.delete(f"{PODS}/a", grace=7)
    assert fake.pods["a"]["metadata"]["deletionGracePeriodSeconds"] == 7
    await api.delete(f"{PODS}/a", grace=0)
    assert not fake.pods


async def test_a_secret_goes_with_the_pod_that_owns_it(fake: FakeApi, api: KubernetesApi) -> None:
    owner = (await api.create(PODS, pod("a"), Pod)).metadata
    owned = pod("kernel-a", ownerReferences=[{"kind": "Pod", "name": owner.name, "uid": owner.uid}])
    await api.create(SECRETS, owned, Pod)
    await api.delete(f"{PODS}/a")
    assert not fake.secrets


async def test_a_log_is_text(fake: FakeApi, api: KubernetesApi) -> None:
    await api.create(PODS, pod("a"), Pod)
    fake.logs["a"] = "Traceback…\n"
    assert await api.text(f"{PODS}/a/log", {"tailLines": "10"}) == "Traceback…\n"


async def test_a_long_list_is_read_in_pages_to_its_end(fake: FakeApi, api: KubernetesApi) -> None:
    for index in range(2 * api_module.PAGE + 1):
        fake.add("pods", pod(f"p{index}", labels={"component": "kernel" if index else "other"}))
    found, version = await api.list(PODS, Pod, {"labelSelector": "component=kernel"})
    assert {each.metadata.name for each in found} == {f"p{index}" for index in range(1, 2 * api_module.PAGE + 1)}
    assert version == str(fake.store.revision)
    assert fake.requests["list", "pods"] == 2


async def test_a_list_whose_next_page_is_gone_is_read_again_at_once(fake: FakeApi, api: KubernetesApi) -> None:
    for index in range(api_module.PAGE + 1):
        fake.add("pods", pod(f"p{index}"))
    first_page = fake.faults.hold("list", "pods")
    reading = asyncio.create_task(api.list(PODS, Pod))
    await first_page.reached.wait()
    fake.forget_continues()
    fake.add("pods", pod("late"))
    first_page.open.set()
    found, _ = await reading
    names = [each.metadata.name for each in found]
    assert len(names) == len(set(names)) == api_module.PAGE + 2


async def test_a_list_that_expires_from_its_beginning_is_an_error(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("list", "pods", 410, "Expired", "too old resource version")
    with pytest.raises(Expired):
        await api.list(PODS, Pod)


@pytest.mark.parametrize("limit", [Timeouts(step=0.2), Timeouts(call=0.2)])
async def test_an_answer_is_not_waited_for_for_ever(fake: FakeApi, tmp_path: Path, limit: Timeouts) -> None:
    api = fake.connect(tmp_path, limit)
    fake.faults.hold("create", "pods")
    with pytest.raises(ApiUnavailable, match="does not answer in time") as unknown:
        await api.create(PODS, pod("a"), Pod)
    assert unknown.value.maybe_done
    await api.close()


async def test_an_api_server_that_is_gone_is_unavailable(fake: FakeApi, api: KubernetesApi) -> None:
    await fake.refuse()
    with pytest.raises(BackendUnavailable, match="cannot be reached") as gone:
        await api.create(PODS, pod("a"), Pod)
    assert isinstance(gone.value, ApiUnavailable)
    assert not gone.value.maybe_done
    await fake.accept()
    await api.create(PODS, pod("a"), Pod)


async def test_reads_patches_and_deletes_survive_a_connection_that_was_being_closed(
    fake: FakeApi, api: KubernetesApi
) -> None:
    await api.create(PODS, pod("a"), Pod)
    for verb in ("get", "patch", "delete"):
        fake.faults.lose(verb, "pods")
    await api.get(f"{PODS}/a", Pod)
    await api.patch(f"{PODS}/a", {"metadata": {"labels": {"a": "b"}}}, Pod)
    await api.delete(f"{PODS}/a")
    assert not fake.pods


@pytest.mark.parametrize("fault", ["lose", "cut"])
async def test_a_create_that_may_have_happened_is_asked_once_and_says_so(
    fake: FakeApi, api: KubernetesApi, fault: str
) -> None:
    getattr(fake.faults, fault)("create", "pods")
    with pytest.raises(ApiUnavailable, match="broke the connection") as unknown:
        await api.create(PODS, pod("a"), Pod)
    assert unknown.value.maybe_done
    assert fake.requests["create", "pods"] == 1
    assert ("a" in fake.pods) == (fault == "cut")


async def test_a_delete_whose_answer_was_cut_has_happened(fake: FakeApi, api: KubernetesApi) -> None:
    await api.create(PODS, pod("a"), Pod)
    fake.faults.cut("delete", "pods")
    await api.delete(f"{PODS}/a")
    assert not fake.pods


async def test_a_busy_api_server_is_asked_again_when_it_says_so(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("create", "pods", 429, "TooManyRequests", times=3, retry_after=0)
    await api.create(PODS, pod("a"), Pod)
    assert fake.requests["create", "pods"] == 4


async def test_patience_with_a_busy_api_server_ends(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("get", "pods", 429, "TooManyRequests", times=100, retry_after=0)
    with pytest.raises(ApiUnavailable, match="overloaded"):
        await api.get(f"{PODS}/a", Pod)
    assert fake.requests["get", "pods"] == api_module.BUSY_TRIES + 1


async def test_nobody_waits_minutes_for_a_busy_api_server(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("get", "pods", 429, "TooManyRequests", times=100, retry_after=120)
    with pytest.raises(ApiUnavailable, match="overloaded"):
        await api.get(f"{PODS}/a", Pod)
    assert fake.requests["get", "pods"] == 1


async def test_a_failing_api_server_is_unavailable_and_quoted(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("get", "pods", 500, "InternalError", "etcdserver: leader changed")
    with pytest.raises(ApiUnavailable, match="etcdserver: leader changed"):
        await api.get(f"{PODS}/a", Pod)


async def test_a_page_for_humans_is_not_an_answer(fake: FakeApi, api: KubernetesApi) -> None:
    await api.create(PODS, pod("a"), Pod)
    for verb in ("get", "list", "delete", "patch"):
        fake.faults.garble(verb, "pods")
    with pytest.raises(ApiUnavailable):
        await api.get(f"{PODS}/a", Pod)
    with pytest.raises(ApiUnavailable):
        await api.list(PODS, Pod)
    with pytest.raises(ApiUnavailable):
        await api.patch(f"{PODS}/a", {}, Pod)
    with pytest.raises(ApiUnavailable):
        await api.delete(f"{PODS}/a")


async def test_a_404_of_something_else_is_not_taken_for_a_missing_object(fake: FakeApi, api: KubernetesApi) -> None:
    fake.faults.fail("delete", "pods", 404)
    fake.faults.garble("delete", "secrets")
    await api.delete(f"{PODS}/a")
    with pytest.raises(ApiUnavailable, match="something else may listen"):
        await api.delete(f"{SECRETS}/a")


async def test_twenty_requests_run_side_by_side(fake: FakeApi, api: KubernetesApi) -> None:
    gate = fake.faults.hold("create", "pods", times=20)
    creating = [asyncio.create_task(api.create(PODS, pod(f"p{index}"), Pod)) for index in range(20)]
    await fake.until(lambda: len(fake.pods) == 20)
    gate.open.set()
    assert len(await asyncio.gather(*creating)) == 20


async def test_a_rotated_token_is_read_again(fake: FakeApi, api: KubernetesApi, tmp_path: Path) -> None:
    await api.list(PODS, Pod)
    fake.token = "the-next-token"
    (tmp_path / "token").write_text(fake.token)
    await api.list(PODS, Pod)


async def test_no_error_and_no_log_tells_the_token(
    fake: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = fake.token = "correct-horse"
    api = fake.connect(tmp_path)
    said: list[str] = []

    async def provoke() -> None:
        with pytest.raises((ApiError, ApiUnavailable)) as failed:
            await api.get(f"{PODS}/none", Pod)
        said.append(f"{failed.value!r} {failed.value} {failed.value.__cause__!r} {vars(failed.value)}")

    await provoke()
    fake.token = "another"
    await provoke()
    (tmp_path / "token").unlink()
    await provoke()
    await fake.refuse()
    await provoke()
    await api.close()
    assert secret not in "".join(said) + caplog.text + repr(api)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "clusters: []", "users: [\n  token: correct-horse", "current-context: a\nclusters: []\ncontexts: []"],
)
def test_a_broken_kubeconfig_is_named_but_not_quoted(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").write_text(content)
    with pytest.raises(ConfigError, match="config") as refused:
        KubernetesApi.connect(tmp_path / "config")
    assert "correct-horse" not in str(refused.value)


async def test_a_context_without_a_user_connects_without_credentials(fake: FakeApi, tmp_path: Path) -> None:
    config = fake.kubeconfig(tmp_path)
    config.write_text(config.read_text().replace('"user": "fake", ', ""))
    api = KubernetesApi.connect(config)
    with pytest.raises(ApiError) as refused:
        await api.list(PODS, Pod)
    assert refused.value.status == 401
    await api.close()


async def test_a_watch_tells_what_happened_since_and_what_happens(fake: FakeApi, api: KubernetesApi) -> None:
    _, version = await api.list(PODS, Pod)
    fake.add("pods", pod("a", labels={"component": "kernel"}))
    fake.add("pods", pod("b"))
    async with api.watch(PODS, Pod, {"labelSelector": "component=kernel"}, version) as events:
        added = await anext(events)
        fake.set_pod_status("a", {"phase": "Running"})
        modified = await anext(events)
        fake.bookmark()
        bookmark = await anext(events)
        fake.remove("pods", "a")
        deleted = await anext(events)
    assert isinstance(added, WatchEvent)
    assert isinstance(modified, WatchEvent)
    assert isinstance(deleted, WatchEvent)
    types = [EventType.ADDED, EventType.MODIFIED, EventType.DELETED]
    assert [each.type for each in (added, modified, deleted)] == types
    assert modified.object.status.phase == "Running"
    assert bookmark == Bookmark(modified.object.metadata.resource_version)
    await fake.until(lambda: fake.open_watches == 0)


async def test_events_larger_than_a_read_come_whole(fake: FakeApi, api: KubernetesApi) -> None:
    async with api.watch(PODS, Pod, None, str(fake.store.revision)) as events:
        for name in "abc":
            fake.add("pods", pod(name, annotations={"big": name * 500_000}))
        told = [await anext(events) for _ in range(3)]
    assert [each.object.metadata.annotations["big"][0] for each in told] == ["a", "b", "c"]
    assert all(len(each.object.metadata.annotations["big"]) == 500_000 for each in told)


@pytest.mark.parametrize("how", ["close_watches", "abort_watches", "refuse"])
async def test_events_end_with_their_connection(fake: FakeApi, api: KubernetesApi, how: str) -> None:
    async with api.watch(PODS, Pod, None, str(fake.store.revision)) as events:
        fake.add("pods", pod("a"))
        await anext(events)
        end = getattr(fake, how)()
        if end is not None:
            await end
        assert [event async for event in events] == []


async def test_events_end_with_silence(fake: FakeApi, tmp_path: Path) -> None:
    api = fake.connect(tmp_path, Timeouts(silence=0.2))
    fake.silent = True
    async with api.watch(PODS, Pod, None, str(fake.store.revision)) as events:
        fake.add("pods", pod("a"))
        assert [event async for event in events] == []
    await api.close()


async def test_a_version_that_is_too_old_has_expired(fake: FakeApi, api: KubernetesApi) -> None:
    version = str(fake.store.revision)
    fake.add("pods", pod("a"))
    fake.store.compact()
    with pytest.raises(Expired):
        async with api.watch(PODS, Pod, None, version) as events:
            await anext(events)
    fake.faults.fail("watch", "pods", 410, "Expired", "too old resource version")
    with pytest.raises(Expired):
        async with api.watch(PODS, Pod, None, version):
            pass


async def test_an_error_in_a_watch_is_raised(fake: FakeApi, api: KubernetesApi) -> None:
    async with api.watch(PODS, Pod, None, str(fake.store.revision)) as events:
        fake.send_error(403, "Forbidden", "no more")
        with pytest.raises(ApiError, match="no more"):
            await anext(events)


async def test_a_watch_leaves_nothing_behind_when_its_reader_is_cancelled(fake: FakeApi, api: KubernetesApi) -> None:
    async def follow() -> None:
        async with api.watch(PODS, Pod, None, str(fake.store.revision)) as events:
            async for _ in events:
                pass

    following = asyncio.create_task(follow())
    await fake.until(lambda: fake.open_watches == 1)
    following.cancel()
    await asyncio.wait([following])
    await fake.until(lambda: fake.open_watches == 0)
    gc.collect()
