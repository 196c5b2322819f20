from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.volumes import parse_volume_mounts, parse_volumes, sources_of
from enterprise_gateway.errors import Forbidden, InvalidRequest

HOME = {"name": "home", "persistentVolumeClaim": {"claimName": "home-ann", "readOnly": True}}


def test_volumes_are_taken_as_they_are():
    volumes = [
        HOME,
        {"name": "scratch", "emptyDir": {}},
        {"name": "x", "hostPath": {"path": "/data", "type": "Directory"}},
    ]
    assert parse_volumes("KERNEL_VOLUMES", volumes) == tuple(volumes)
    assert list(sources_of(parse_volumes("KERNEL_VOLUMES", volumes))) == [
        "persistentVolumeClaim",
        "emptyDir",
        "hostPath",
    ]


def test_what_a_projected_volume_is_made_of_counts():
    volume = {
        "name": "x",
        "projected": {"sources": [{"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "t"}}]},
    }
    assert list(sources_of(parse_volumes("KERNEL_VOLUMES", [volume]))) == ["projected", "secret", "serviceAccountToken"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"name": "x", "emptyDir": {}}, "list of volumes"),
        ("x", "list of volumes"),
        (None, "list of volumes"),
        (["x"], "list of mappings"),
        ([None], "list of mappings"),
        ([[HOME]], "list of mappings"),
        ([{"emptyDir": {}}], "name"),
        ([{"name": 5, "emptyDir": {}}], "name"),
        ([{"name": "", "emptyDir": {}}], "name"),
        ([{"name": "Home", "emptyDir": {}}], "name"),
        ([{"name": "a.b", "emptyDir": {}}], "name"),
        ([{"name": "a\n", "emptyDir": {}}], "name"),
        ([{"name": "{{ x }}", "emptyDir": {}}], "name"),
        ([{"name": "٣", "emptyDir": {}}], "name"),
        ([{"name": "a" * 64, "emptyDir": {}}], "name"),
        ([{"name": "enterprise-gateway", "emptyDir": {}}], "taken"),
        ([{"name": "enterprise-gateway-secret", "emptyDir": {}}], "taken"),
        ([{"name": "x"}], "exactly one source"),
        ([{"name": "x", "emptyDir": {}, "hostPath": {"path": "/"}}], "exactly one source"),
        ([{"name": "x", "gitRepo": {"repository": "x"}}], "exactly one source"),
        ([{"name": "x", "emptydir": {}}], "exactly one source"),
        ([{"name": "x", "securityContext": {}}], "exactly one source"),
        ([{"name": "x", "emptyDir": None}], "mapping"),
        ([{"name": "x", "secret": "kernel-1"}], "mapping"),
        ([HOME, HOME], "twice"),
        ([{"name": "x", "projected": {}}], "projected.sources"),
        ([{"name": "x", "projected": {"sources": "x"}}], "projected.sources"),
        ([{"name": "x", "projected": {"sources": [{}]}}], "projected.sources"),
        ([{"name": "x", "projected": {"sources": [{"secret": {}, "configMap": {}}]}}], "projected.sources"),
        ([{"name": "x", "projected": {"sources": [{"hostPath": {}}]}}], "projected.sources"),
        ([{"name": "x", "hostPath": {}}], "hostPath.path"),
        ([{"name": "x", "hostPath": {"path": "/"}}], "hostPath.path"),
        ([{"name": "x", "hostPath": {"path": "data"}}], "hostPath.path"),
        ([{"name": "x", "hostPath": {"path": "/data/../etc"}}], "hostPath.path"),
        ([{"name": "x", "hostPath": {"path": "//data"}}], "hostPath.path"),
    ],
)
def test_a_malformed_volume_is_refused_in_words(value, told):
    with pytest.raises(InvalidRequest, match=told) as refused:
        parse_volumes("KERNEL_VOLUMES", value)
    assert "KERNEL_VOLUMES" in refused.value.message


@pytest.mark.parametrize("secret", ["kernel-0b6f", "kernel-", "enterprise-gateway", "enterprise-gateway-tls"])
@pytest.mark.parametrize(
    "source",
    [
        lambda name: {"secret": {"secretName": name}},
        lambda name: {"projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": name}}]}},
        lambda name: {"csi": {"driver": "d", "nodePublishSecretRef": {"name": name}}},
        lambda name: {"azureFile": {"secretName": name, "shareName": "s"}},
        lambda name: {"flexVolume": {"driver": "d", "secretRef": {"name": name}}},
        lambda name: {"rbd": {"monitors": [], "image": "i", "secretRef": {"name": name}}},
    ],
)
def test_no_volume_shows_the_secrets_of_kernels_and_of_the_gateway(source, secret):
    with pytest.raises(Forbidden, match="belongs to a kernel or to the gateway"):
        parse_volumes("KERNEL_VOLUMES", [{"name": "x", **source(secret)}])


def test_other_secrets_and_other_things_of_those_names_are_not_meant():
    parse_volumes(
        "KERNEL_VOLUMES",
        [
            {"name": "a", "secret": {"secretName": "mine", "items": [{"key": "kernel-key", "path": "kernel-path"}]}},
            {"name": "b", "persistentVolumeClaim": {"claimName": "kernel-data"}},
        ],
    )


@pytest.mark.parametrize(
    "path", ["/home/jovyan/work", "/etc/ssl", "/dev/shm", "/runs", "/etc/enterprise-gateway2", "/mnt/a b", "/données"]
)
def test_mounts_are_taken(path):
    mount = {"name": "work", "mountPath": path, "subPath": "a/b..c", "readOnly": True}
    assert parse_volume_mounts("KERNEL_VOLUME_MOUNTS", [mount]) == (mount,)


def test_a_slash_behind_a_mount_path_is_dropped():
    assert parse_volume_mounts("V", [{"name": "w", "mountPath": "/w/"}]) == ({"name": "w", "mountPath": "/w"},)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "/",
            "//",
            "///",
            "work",
            "./work",
            "//etc",
            "//work",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/..",
            "/a/..",
            "/a\0",
        ),
        *(
            "/a:b",
            "/a\nb",
            "/proc",
            "/proc/self",
            "/sys",
            "/sys/fs/cgroup",
            "/dev",
            "/dev/shm/../sda",
            "/dev/shm2",
            "/etc",
        ),
        *("/etc/", "/run", "/etc/enterprise-gateway", "/etc/enterprise-gateway/", "/etc/enterprise-gateway/agent.json"),
        *("/etc/enterprise-gateway/../x", "/run/enterprise-gateway/x", "/" + "a" * 2000, "/\ud800", "/a\u202eb"),
    ],
)
def test_a_mount_cannot_hide_what_the_kernel_needs(path):
    with pytest.raises(InvalidRequest, match="mountPath"):
        parse_volume_mounts("KERNEL_VOLUME_MOUNTS", [{"name": "work", "mountPath": path}])


@pytest.mark.parametrize("sub_path", ["/etc", "..", "../x", "a/../../b", "a/..", "a\nb", "a" * 2000])
def test_a_sub_path_stays_in_its_volume(sub_path):
    with pytest.raises(InvalidRequest, match="subPath"):
        parse_volume_mounts("V", [{"name": "work", "mountPath": "/w", "subPath": sub_path}])


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "x",
        ["x"],
        [{}],
        [{"name": "w"}],
        [{"mountPath": "/w"}],
        [{"name": "w", "mountPath": 5}],
        [{"name": "w", "mountPath": "/w", "readOnly": "yes"}],
        [{"name": "w", "mountPath": "/w", "mountPropagation": "Bidirectional"}],
        [{"name": "w", "mountPath": "/w", "subPathExpr": "$(HOME)"}],
        [{"name": "w", "mountPath": "/w", "securityContext": {"privileged": True}}],
        [{"name": "w", "mountPath": "/w"}, {"name": "v", "mountPath": "/w/"}],
    ],
)
def test_a_malformed_mount_is_refused(value):
    with pytest.raises(InvalidRequest, match="KERNEL_VOLUME_MOUNTS"):
        parse_volume_mounts("KERNEL_VOLUME_MOUNTS", value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["kernel-1", "/w", "x", "/proc"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "mountPath", "emptyDir", "secret", "projected", "sources", "hostPath", "path"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(JSON, st.sampled_from([parse_volumes, parse_volume_mounts]))
def test_nothing_but_a_refusal_is_raised(value, parse):
    try:
        parse("V", value)
    except (InvalidRequest, Forbidden):
        return
