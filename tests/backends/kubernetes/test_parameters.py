from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.parameters import (
    DEFAULT_GID,
    DEFAULT_UID,
    GPU,
    ParameterDefaults,
    PodParameters,
    parse_parameters,
)
from enterprise_gateway.backends.kubernetes.policy import PodPolicy, parse_policy
from enterprise_gateway.backends.kubernetes.quantities import parse_quantity
from enterprise_gateway.backends.kubernetes.volumes import sources_of
from enterprise_gateway.errors import Forbidden, InvalidRequest, StartFailed

DEFAULTS = ParameterDefaults(namespace="kernels", service_account="default", gateway_image="gateway/image:1")
OPEN = parse_policy(
    """
    namespace: allow
    service_account: allow
    node_selector: allow
    tolerations: allow
    priority: allow
    volumes: [persistentVolumeClaim, emptyDir, nfs, secret, hostPath, projected, template]
    """
)
CLOSED = parse_policy("\n".join(f"{name}: deny" for name in PodPolicy.__struct_fields__))

VALUES = {
    "KERNEL_IMAGE": "other/image:2",
    "KERNEL_EXECUTOR_IMAGE": "other/image:3",
    "KERNEL_NAMESPACE": "team-a",
    "KERNEL_SERVICE_ACCOUNT_NAME": "spark",
    "KERNEL_UID": "2000",
    "KERNEL_GID": "2001",
    "KERNEL_CPUS": "500m",
    "KERNEL_MEMORY": "1Gi",
    "KERNEL_GPUS": "1",
    "KERNEL_CPUS_LIMIT": "2",
    "KERNEL_MEMORY_LIMIT": "4Gi",
    "KERNEL_GPUS_LIMIT": "1",
    "KERNEL_VOLUMES": "[{name: work, nfs: {server: nfs, path: /work}}]",
    "KERNEL_NODE_SELECTOR": "{disktype: ssd, example.org/zone: a}",
    "KERNEL_TOLERATIONS": "[{key: dedicated, operator: Exists, effect: NoSchedule}]",
    "KERNEL_PRIORITY_CLASS_NAME": "batch",
}


def parse(env=None, policy=OPEN, **defaults) -> PodParameters:
    return parse_parameters(env or {}, policy, msgspec.structs.replace(DEFAULTS, **defaults))


def test_a_client_that_says_nothing_gets_the_defaults():
    for env in ({}, dict.fromkeys([*VALUES, "KERNEL_VOLUME_MOUNTS", "KERNEL_WORKING_DIR", "KERNEL_POD_NAME"], "")):
        assert parse(env, CLOSED) == PodParameters(
            image="gateway/image:1",
            executor_image="gateway/image:1",
            namespace="kernels",
            service_account="default",
            mount_token=False,
            uid=DEFAULT_UID,
            gid=DEFAULT_GID,
            requests={},
            limits={},
            volumes=(),
            volume_mounts=(),
            working_dir="",
            node_selector={},
            tolerations=(),
            priority_class="",
            pod_name="",
        )


def test_every_parameter_reaches_the_pod():
    env = VALUES | {
        "KERNEL_VOLUME_MOUNTS": '[{"name":"work","mountPath":"/home/work","subPath":"ann","readOnly":true}]',
        "KERNEL_WORKING_DIR": "/home/work",
        "KERNEL_POD_NAME": "{{ kernel_username }}-x",
    }
    assert parse(env, mirror_working_dirs=True) == PodParameters(
        image="other/image:2",
        executor_image="other/image:3",
        namespace="team-a",
        service_account="spark",
        mount_token=True,
        uid=2000,
        gid=2001,
        requests={"cpu": "500m", "memory": "1Gi", GPU: "1"},
        limits={"cpu": "2", "memory": "4Gi", GPU: "1"},
        volumes=({"name": "work", "nfs": {"server": "nfs", "path": "/work"}},),
        volume_mounts=({"name": "work", "mountPath": "/home/work", "subPath": "ann", "readOnly": True},),
        working_dir="/home/work",
        node_selector={"disktype": "ssd", "example.org/zone": "a"},
        tolerations=({"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"},),
        priority_class="batch",
        pod_name="{{ kernel_username }}-x",
    )


@pytest.mark.parametrize("name", VALUES)
def test_what_clients_may_not_choose_is_refused_by_name(name):
    with pytest.raises(Forbidden, match=f"{name}: .*this gateway does not let clients choose"):
        parse({name: VALUES[name]}, CLOSED)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_would_be_taken_anyway_is_never_refused(name):
    spec = {name: VALUES[name]}
    assert parse(spec, CLOSED, spec_env=spec) == parse({}, CLOSED, spec_env=spec)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("KERNEL_IMAGE", "gateway/image:1"),
        ("KERNEL_NAMESPACE", "kernels"),
        ("KERNEL_SERVICE_ACCOUNT_NAME", "default"),
        ("KERNEL_UID", "1000"),
        ("KERNEL_GID", "100"),
        ("KERNEL_GPUS", "0"),
        ("KERNEL_VOLUMES", "[]"),
        ("KERNEL_NODE_SELECTOR", "{}"),
        ("KERNEL_TOLERATIONS", "[]"),
    ],
)
def test_the_gateways_own_default_is_never_refused(name, same):
    parse({name: same}, CLOSED)


def test_the_default_policy_refuses_what_reaches_beyond_the_kernel():
    for name in (
        *("KERNEL_NAMESPACE", "KERNEL_SERVICE_ACCOUNT_NAME", "KERNEL_VOLUMES"),
        *("KERNEL_NODE_SELECTOR", "KERNEL_TOLERATIONS", "KERNEL_PRIORITY_CLASS_NAME"),
    ):
        with pytest.raises(Forbidden, match=name):
            parse({name: VALUES[name]}, PodPolicy())


# Images


def test_the_image_is_the_clients_then_the_specs_then_the_gateways():
    config = {"image_name": "spec/image:1"}
    assert parse({"KERNEL_IMAGE": "c"}, spec_config=config).image == "c"
    assert parse({}, spec_config=config).image == "spec/image:1"
    assert parse({}, spec_config={"image_name": ""}).image == "gateway/image:1"


def test_executors_have_an_image_of_their_own_or_the_kernels():
    config = {"image_name": "spec/image:1", "executor_image_name": "spec/executor:1"}
    assert parse({}, spec_config=config).executor_image == "spec/executor:1"
    assert parse({"KERNEL_EXECUTOR_IMAGE": "c"}, spec_config=config).executor_image == "c"
    assert parse({"KERNEL_IMAGE": "c"}).executor_image == "c"
    with pytest.raises(StartFailed, match="executor_image_name must be an image reference"):
        parse({}, spec_config={"executor_image_name": "no image"})


def test_without_an_image_the_operator_is_told_what_to_set():
    with pytest.raises(StartFailed, match="image_name"):
        parse({}, gateway_image="")
    with pytest.raises(StartFailed, match="image_name of the kernel spec must be a string"):
        parse({}, spec_config={"image_name": 5})
    with pytest.raises(StartFailed, match="image_name must be an image reference"):
        parse({}, spec_config={"image_name": "no image"})


@pytest.mark.parametrize(
    "image",
    [
        *("python", "python:3.12-slim", "jupyter/base-notebook", "docker.io/library/python", "localhost:5000/a/b:c"),
        *(
            "registry.example.org:5000/k",
            "a/b@sha256:" + "0" * 64,
            "a:b@sha256:" + "f" * 64,
            "a__b/c--d/e.f",
            "10.0.0.1/x",
        ),
    ],
)
def test_image_references_are_taken(image):
    assert parse({"KERNEL_IMAGE": image}).image == image


@pytest.mark.parametrize(
    "image",
    [
        *(
            " python",
            "python ",
            "python\n",
            "Python",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a@",
            "a@sha256:0",
            "a b",
            "a;b",
            "{{ x }}",
        ),
        *(
            "${X}",
            "../a",
            "a/../b",
            "a:b:c",
            "http://a/b",
            "a" * 513,
            "a/" * 300,
            "a:" + "b" * 129,
            "é",
            "-a",
            "a_-_b",
            "a___b",
        ),
        *("a" * 400 + "!", "a-" * 250 + "!", "a." * 250 + "!", "'a'", '"a"', "!!python/object:x", "a\u2028b"),
    ],
)
def test_anything_else_is_no_image(image):
    with pytest.raises(InvalidRequest, match=r"KERNEL_IMAGE must be an image reference.*such as"):
        parse({"KERNEL_IMAGE": image})


# Names


@pytest.mark.parametrize(
    "name", ["Team", "a.b", "-a", "a-", "a" * 64, "a\n", " a", "a/b", "{{ a }}", "٣", "a\nb: c", "*"]
)
def test_a_namespace_is_a_dns_label(name):
    with pytest.raises(InvalidRequest, match="KERNEL_NAMESPACE"):
        parse({"KERNEL_NAMESPACE": name})


@pytest.mark.parametrize(
    "name", ["Spark", ".a", "a.", "a..b", "a" * 254, "a\n", " a", "a/b", "system:masters", "{{ a }}", "a,b"]
)
@pytest.mark.parametrize("variable", ["KERNEL_SERVICE_ACCOUNT_NAME", "KERNEL_PRIORITY_CLASS_NAME"])
def test_an_objects_name_is_a_dns_subdomain(variable, name):
    with pytest.raises(InvalidRequest, match=variable):
        parse({variable: name})


def test_a_token_is_mounted_for_an_account_that_was_chosen():
    name = "KERNEL_SERVICE_ACCOUNT_NAME"
    one = parse_policy("service_account: [spark]")
    with pytest.raises(Forbidden, match="the gateway's own account"):
        parse({name: "enterprise-gateway"}, OPEN)
    assert parse({name: "spark"}, one).mount_token
    assert parse({}, one, spec_env={name: "spark"}).mount_token
    assert parse({name: "spark"}, CLOSED, spec_env={name: "spark"}).mount_token
    assert parse({name: "spark"}, one, spec_env={name: "other"}).mount_token


def test_no_token_is_mounted_for_naming_the_default_account():
    name = "KERNEL_SERVICE_ACCOUNT_NAME"
    assert not parse({}, OPEN).mount_token
    assert not parse({name: "default"}, CLOSED).mount_token
    assert not parse({}, OPEN, service_account="").mount_token
    assert not parse({name: "default"}, PodPolicy(), service_account="default").mount_token


# Users and groups


@pytest.mark.parametrize("variable", ["KERNEL_UID", "KERNEL_GID"])
@pytest.mark.parametrize(
    "value",
    [
        *(
            "0",
            "00",
            "+0",
            "-0",
            "-1",
            " 5",
            "5 ",
            " 0 ",
            "\t5",
            "05",
            "+5",
            "5_0",
            "0x10",
            "1e3",
            "5.0",
            "root",
            "٣",
            "\uff15",
            "²",
        ),
        *(
            "2147483648",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "9" * 4096,
            "1000\n",
            "1000,0",
            "{{ 0 }}",
            "1;0",
        ),
    ],
)
def test_ids_that_are_prohibited_or_malformed_are_forbidden(variable, value):
    with pytest.raises(Forbidden, match=variable):
        parse({variable: value})


def test_ids_are_within_the_policy_and_not_prohibited():
    policy = parse_policy("uid: {min: 5, max: 9, prohibited: [7]}")
    assert [parse({"KERNEL_UID": uid}, policy).uid for uid in ("5", "9")] == [5, 9]
    for uid, told in (("4", "from 5 to 9"), ("10", "from 5 to 9"), ("7", "prohibits")):
        with pytest.raises(Forbidden, match=told):
            parse({"KERNEL_UID": uid}, policy)
    assert parse({"KERNEL_UID": "2147483647"}).uid == 2147483647


def test_root_is_possible_where_nothing_is_prohibited():
    policy = parse_policy("", prohibited_uids=frozenset(), prohibited_gids=frozenset())
    assert parse({"KERNEL_UID": "0", "KERNEL_GID": "0"}, policy).uid == 0


def test_a_prohibited_id_is_prohibited_to_kernel_specs_and_as_default():
    with pytest.raises(Forbidden, match="KERNEL_UID=0"):
        parse({}, spec_env={"KERNEL_UID": "0"})
    with pytest.raises(Forbidden, match="KERNEL_GID=100"):
        parse({}, parse_policy("gid: {prohibited: [100]}"))


# Resources


@pytest.mark.parametrize("suffix", ["", "_LIMIT"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(
            ("KERNEL_CPUS", value)
            for value in ("0", "-1", "lots", "NaN", "1e99", "1 ", "0.1m", "20000", "1e5", "٣", "1\n2", "{1}")
        ),
        *(
            ("KERNEL_MEMORY", value)
            for value in ("0", "4", "512m", "4GB", "4g", "-4Gi", "2Ei", "1e50", " 4Gi", "4Gi, x: y", "inf")
        ),
        *(
            ("KERNEL_GPUS", value)
            for value in ("-1", "0.5", "1.0", "500m", "1e0", "01", "+1", "10000", "one", "¹", "1k", "1 ")
        ),
    ],
)
def test_an_amount_that_cannot_be_meant_is_refused(variable, value, suffix):
    with pytest.raises(InvalidRequest, match=f"{variable}{suffix} must be"):
        parse({f"{variable}{suffix}": value})


def test_a_request_is_at_most_its_limit():
    assert parse({"KERNEL_CPUS": "1000m", "KERNEL_CPUS_LIMIT": "1"}).limits == {"cpu": "1"}
    with pytest.raises(InvalidRequest, match=r"KERNEL_MEMORY=1Gi is more than KERNEL_MEMORY_LIMIT=1G"):
        parse({"KERNEL_MEMORY": "1Gi", "KERNEL_MEMORY_LIMIT": "1G"})
    with pytest.raises(InvalidRequest, match=r"KERNEL_CPUS=3 is more"):
        parse({"KERNEL_CPUS": "3"}, spec_env={"KERNEL_CPUS_LIMIT": "2"})
    with pytest.raises(StartFailed, match=r"spec.*KERNEL_CPUS=3 is more"):
        parse({"KERNEL_MEMORY": "1Gi"}, spec_env={"KERNEL_CPUS": "3", "KERNEL_CPUS_LIMIT": "2"})


def test_a_gpu_is_requested_and_limited_alike():
    assert parse({"KERNEL_GPUS": "2"}).limits == {GPU: "2"}
    assert parse({"KERNEL_GPUS_LIMIT": "2"}).limits == {GPU: "2"}
    with pytest.raises(InvalidRequest, match="must be equal"):
        parse({"KERNEL_GPUS": "1", "KERNEL_GPUS_LIMIT": "2"})


def test_a_maximum_bounds_requests_and_limits():
    policy = parse_policy("cpus: {max: 2}\nmemory: {max: 1.5Gi}\ngpus: {max: 1}")
    parse({"KERNEL_CPUS": "2", "KERNEL_MEMORY_LIMIT": "1536Mi", "KERNEL_GPUS": "1"}, policy)
    for name, value in (("KERNEL_CPUS", "2001m"), ("KERNEL_MEMORY_LIMIT", "1537Mi"), ("KERNEL_GPUS", "2")):
        with pytest.raises(Forbidden, match=f"{name}: .* at most"):
            parse({name: value}, policy)


# Volumes


def test_only_listed_kinds_of_volume_are_taken():
    parse({"KERNEL_VOLUMES": "[{name: a, emptyDir: {}}]"}, PodPolicy())
    for source in (
        "hostPath: {path: /data}",
        "secret: {secretName: x}",
        "nfs: {}",
        "projected: {sources: [{secret: {name: x}}]}",
    ):
        with pytest.raises(Forbidden, match="KERNEL_VOLUMES"):
            parse({"KERNEL_VOLUMES": f"[{{name: a, {source}}}]"}, PodPolicy())


def test_a_projected_volume_is_taken_when_its_parts_are():
    policy = parse_policy("volumes: [projected, configMap]")
    parse({"KERNEL_VOLUMES": "[{name: a, projected: {sources: [{configMap: {name: x}}]}}]"}, policy)
    with pytest.raises(Forbidden, match="serviceAccountToken"):
        parse({"KERNEL_VOLUMES": "[{name: a, projected: {sources: [{serviceAccountToken: {path: x}}]}}]"}, policy)


def test_kernels_secrets_stay_theirs_even_where_secrets_are_allowed():
    with pytest.raises(Forbidden, match="belongs to a kernel"):
        parse({"KERNEL_VOLUMES": "[{name: a, secret: {secretName: kernel-1}}]"})


@pytest.mark.parametrize(
    "text",
    [
        *("x", "{name: a}", "[!!python/object/apply:os.system [id]]", "[&a {name: x, emptyDir: {}}, *a]", "[" * 4000),
        *("[{name: a, emptyDir: {}}]\n---\n[]", "[{name: a, emptyDir: {}}", "{{ kernel_volumes }}", "null"),
        *("[{name: a, emptyDir: {}, name: b}]", "]]", "[{name: a, emptyDir: {}}], securityContext: {privileged: true}"),
    ],
)
@pytest.mark.parametrize("variable", ["KERNEL_VOLUMES", "KERNEL_VOLUME_MOUNTS", "KERNEL_TOLERATIONS"])
def test_what_is_no_list_of_mappings_is_refused(variable, text):
    with pytest.raises(InvalidRequest, match=variable):
        parse({variable: text})


def test_a_mount_needs_its_volume():
    mounts = {"KERNEL_VOLUME_MOUNTS": "[{name: work, mountPath: /w}]"}
    with pytest.raises(InvalidRequest, match="no volume 'work'"):
        parse(mounts)
    assert parse(mounts, template_volumes=frozenset({"work"})).volume_mounts
    assert parse(mounts, spec_env={"KERNEL_VOLUMES": "[{name: work, emptyDir: {}}]"}).volume_mounts
    with pytest.raises(StartFailed, match="no volume 'work'"):
        parse(spec_env=mounts)


def test_the_operators_volumes_are_mounted_where_the_operator_says():
    mounts = {"KERNEL_VOLUME_MOUNTS": "[{name: work, mountPath: /w}]"}
    for operators in (
        {"template_volumes": frozenset({"work"})},
        {"spec_env": {"KERNEL_VOLUMES": "[{name: work, hostPath: {path: /data}}]"}},
    ):
        with pytest.raises(Forbidden, match="volume 'work' is the operator's"):
            parse(mounts, PodPolicy(), **operators)
    assert parse(spec_env=mounts, policy=CLOSED, template_volumes=frozenset({"work"})).volume_mounts


def test_a_volume_cannot_take_the_place_of_the_templates():
    volumes = {"KERNEL_VOLUMES": "[{name: work, emptyDir: {}}]"}
    with pytest.raises(InvalidRequest, match="'work' already"):
        parse(volumes, template_volumes=frozenset({"work"}))
    with pytest.raises(StartFailed, match="'work' already"):
        parse(spec_env=volumes, template_volumes=frozenset({"work"}))


# Where it runs


def test_a_working_directory_is_taken_only_when_it_is_mirrored():
    env = {"KERNEL_WORKING_DIR": "/home//ann/../bob/"}
    assert parse(env).working_dir == ""
    assert parse(env, mirror_working_dirs=True).working_dir == "/home/bob"
    assert parse({"KERNEL_WORKING_DIR": "C:\\Users"}).working_dir == ""
    for path in ("C:\\Users", "work", "~", "/a\nb", "/" + "a" * 1024):
        with pytest.raises(InvalidRequest, match="KERNEL_WORKING_DIR"):
            parse({"KERNEL_WORKING_DIR": path}, mirror_working_dirs=True)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "[]",
            "x",
            "{a: 1}",
            "{a: true}",
            "{a: [b]}",
            "{a: {b: c}}",
            "{'a b': c}",
            "{a: 'b c'}",
            "{a/b/c: d}",
            "{A/b: c}",
        ),
        *("{/a: b}", "{'': a}", "{a: b, a: c}", "{é: a}", "{? [a] : b}", f"{{{'a' * 64}: b}}", f"{{a: {'b' * 64}}}"),
    ],
)
def test_a_node_selector_is_a_mapping_of_labels(text):
    with pytest.raises(InvalidRequest, match="KERNEL_NODE_SELECTOR"):
        parse({"KERNEL_NODE_SELECTOR": text})


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{}",
            "[x]",
            "[{}]",
            "[{key: a, operator: In}]",
            "[{key: a, effect: Never}]",
            "[{key: 'a b', operator: Exists}]",
        ),
        *(
            "[{key: a, value: 5}]",
            "[{key: a, value: 'b c'}]",
            "[{key: a, tolerationSeconds: '5'}]",
            "[{key: a, image: x}]",
        ),
    ],
)
def test_a_toleration_has_kubernetes_fields(text):
    with pytest.raises(InvalidRequest, match="KERNEL_TOLERATIONS"):
        parse({"KERNEL_TOLERATIONS": text})


def test_keys_of_labels_and_taints_are_allowed_one_by_one():
    policy = parse_policy("node_selector: {keys: [disktype]}\ntolerations: {keys: ['example.org/*']}")
    parse({"KERNEL_NODE_SELECTOR": "{disktype: ssd}", "KERNEL_TOLERATIONS": "[{key: example.org/a, value: b}]"}, policy)
    with pytest.raises(Forbidden, match="'zone'"):
        parse({"KERNEL_NODE_SELECTOR": "{disktype: ssd, zone: a}"}, policy)
    for text in ("[{operator: Exists}]", "[{key: example.org/a}, {key: other}]"):
        with pytest.raises(Forbidden, match="KERNEL_TOLERATIONS"):
            parse({"KERNEL_TOLERATIONS": text}, policy)


# Kernel specs


def test_a_specs_own_values_may_name_whose_kernel_it_is():
    spec = {
        "KERNEL_VOLUMES": "[{name: home, persistentVolumeClaim: {claimName: 'home-${KERNEL_USERNAME}'}}]",
        "KERNEL_VOLUME_MOUNTS": "[{name: home, mountPath: /home, subPath: $KERNEL_ID}]",
    }
    parameters = parse({"KERNEL_USERNAME": "ann", "KERNEL_ID": "7"}, CLOSED, spec_env=spec)
    assert parameters.volumes == ({"name": "home", "persistentVolumeClaim": {"claimName": "home-ann"}},)
    assert parameters.volume_mounts == ({"name": "home", "mountPath": "/home", "subPath": "7"},)


def test_a_username_cannot_become_structure():
    spec = {"KERNEL_VOLUMES": "[{name: home, persistentVolumeClaim: {claimName: '${KERNEL_USERNAME}'}}]"}
    name = "x'}}, {name: evil, emptyDir: {}}, {name: y, secret: {secretName: 'z"
    (volume,) = parse({"KERNEL_USERNAME": name}, spec_env=spec).volumes
    assert volume == {"name": "home", "persistentVolumeClaim": {"claimName": name}}


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "a\nb", "${KERNEL_ID}"])
def test_a_username_cannot_lead_out_of_its_folder(name):
    spec = {
        "KERNEL_VOLUMES": "[{name: home, emptyDir: {}}]",
        "KERNEL_VOLUME_MOUNTS": "[{name: home, mountPath: /home, subPath: '${KERNEL_USERNAME}'}]",
    }
    with pytest.raises(StartFailed, match="KERNEL_VOLUME_MOUNTS may refer to"):
        parse({"KERNEL_USERNAME": name, "KERNEL_ID": "7"}, spec_env=spec)


def test_a_username_cannot_name_another_kernels_secret():
    spec = {"KERNEL_VOLUMES": "[{name: a, secret: {secretName: '${KERNEL_USERNAME}'}}]"}
    with pytest.raises(StartFailed, match="belongs to a kernel"):
        parse({"KERNEL_USERNAME": "kernel-1"}, spec_env=spec)


def test_a_spec_cannot_take_its_defaults_from_what_clients_send():
    with pytest.raises(StartFailed, match="KERNEL_IMAGE may refer to"):
        parse({"KERNEL_TAG": "evil", "KERNEL_IMAGE": "a:evil"}, CLOSED, spec_env={"KERNEL_IMAGE": "a:${KERNEL_TAG}"})


def test_a_specs_mistake_is_not_the_clients():
    for name in VALUES.keys() - {"KERNEL_UID"}:
        with pytest.raises(StartFailed, match=f"the kernel spec's env is wrong: {name}"):
            parse({}, spec_env={name: "{not: [right"})


# All together

HOSTILE = st.one_of(
    st.sampled_from(
        ["", *VALUES.values(), "0", "-1", "1e9", "/a/../b", "[{name: a, emptyDir: {}}]", "kernels", "default"]
    ),
    st.sampled_from(
        ["[{name: a, mountPath: /a}]", "[{name: a, secret: {secretName: kernel-1}}]", "[{key: a, value: b}]"]
    ),
    st.text(max_size=20),
    st.text("[]{}:,&*!'\"-/. ab019mGi+_\n", max_size=20),
)
NAMES = [*VALUES, "KERNEL_VOLUME_MOUNTS", "KERNEL_WORKING_DIR", "KERNEL_POD_NAME", "KERNEL_USERNAME"]
NARROW = parse_policy(
    """
    image: [other/*]
    namespace: [team-*]
    service_account: [spark]
    cpus: {max: 1}
    memory: {max: 2Gi}
    gpus: deny
    uid: {min: 1000, max: 2000, prohibited: [1500]}
    gid: deny
    volumes: [emptyDir]
    node_selector: {keys: [disktype]}
    tolerations: {keys: [dedicated]}
    priority: [batch]
    """
)
POLICIES = st.sampled_from(
    [
        PodPolicy(),
        OPEN,
        CLOSED,
        NARROW,
    ]
)


@given(st.dictionaries(st.sampled_from(NAMES), HOSTILE), POLICIES, st.booleans())
def test_what_is_accepted_is_within_the_policy(env, policy, mirror):
    try:
        found = parse(env, policy, mirror_working_dirs=mirror, template_volumes=frozenset({"a"}))
    except (InvalidRequest, Forbidden):
        return
    plain = parse({}, policy)
    for rule, value, default in (
        (policy.image, found.image, plain.image),
        (policy.namespace, found.namespace, plain.namespace),
        (policy.service_account, found.service_account, plain.service_account),
        (policy.uid, found.uid, plain.uid),
        (policy.gid, found.gid, plain.gid),
        (policy.priority, found.priority_class, plain.priority_class),
        (policy.volumes, frozenset(sources_of(found.volumes)), frozenset()),
        (policy.node_selector, frozenset(found.node_selector), frozenset()),
        (policy.tolerations, frozenset(t.get("key", "") for t in found.tolerations), frozenset()),
    ):
        assert value == default or not rule.refusal(value)
    assert found.uid not in policy.uid.prohibited
    assert found.gid not in policy.gid.prohibited
    for amounts in (found.requests, found.limits):
        for key, rule in (("cpu", policy.cpus), ("memory", policy.memory), (GPU, policy.gpus)):
            assert key not in amounts or not rule.refusal(parse_quantity(amounts[key]))
    assert {mount["name"] for mount in found.volume_mounts} <= {volume["name"] for volume in found.volumes} | {"a"}
    assert not found.mount_token or not policy.service_account.refusal(found.service_account)
    msgspec.json.encode(found)


@given(st.dictionaries(st.sampled_from(NAMES), HOSTILE), st.dictionaries(st.sampled_from(NAMES), HOSTILE))
def test_nothing_but_the_three_errors_is_raised(env, spec_env):
    try:
        parse(env, spec_env=spec_env)
    except (InvalidRequest, Forbidden, StartFailed) as error:
        assert error.message  # noqa: PT017 - most are refused, and all have words
