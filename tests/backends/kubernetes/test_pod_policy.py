from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enterprise_gateway.backends.kubernetes.policy import MAX_ID, PodPolicy, parse_policy
from enterprise_gateway.backends.kubernetes.quantities import parse_quantity
from enterprise_gateway.errors import ConfigError

EXAMPLE = """
image: ["registry.example.org/kernels/*"]
namespace: deny
service_account: [spark]
cpus: {max: 8}
memory: {max: 32Gi}
gpus: deny
uid: {min: 1000, max: 65535, prohibited: [1001]}
gid: allow
volumes: [persistentVolumeClaim, emptyDir, nfs]
node_selector: {keys: [disktype, "example.org/*"]}
tolerations: deny
priority: [batch, interactive]
"""


def test_every_rule_of_an_example_is_read():
    policy = parse_policy(EXAMPLE)
    assert not policy.image.refusal("registry.example.org/kernels/python:3")
    assert "registry.example.org/kernels/*" in policy.image.refusal("docker.io/python")
    assert "does not let clients choose" in policy.namespace.refusal("x")
    assert not policy.service_account.refusal("spark")
    assert policy.service_account.refusal("sparky")
    assert not policy.cpus.refusal(parse_quantity("8000m"))
    assert "at most 8" in policy.cpus.refusal(parse_quantity("8001m"))
    assert policy.memory.refusal(parse_quantity("35G"))
    assert not policy.memory.refusal(parse_quantity("34G"))
    assert policy.gpus.refusal(parse_quantity("1"))
    assert [bool(policy.uid.refusal(uid)) for uid in (999, 1000, 65535, 65536)] == [True, False, False, True]
    assert policy.uid.prohibited == {0, 1001}
    assert not policy.gid.refusal(5)
    assert not policy.volumes.refusal(frozenset({"nfs", "emptyDir"}))
    assert "hostPath" in policy.volumes.refusal(frozenset({"nfs", "hostPath"}))
    assert not policy.node_selector.refusal(frozenset({"disktype", "example.org/zone"}))
    assert "'zone'" in policy.node_selector.refusal(frozenset({"disktype", "zone"}))
    assert policy.tolerations.refusal(frozenset({"x"}))
    assert policy.tolerations.refusal(frozenset())
    assert not policy.priority.refusal("batch")


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "{}", "~"])
def test_no_rules_are_the_default_rules(text):
    assert parse_policy(text) == PodPolicy()


def test_the_default_is_safe_in_a_shared_namespace():
    policy = PodPolicy()
    assert not policy.image.refusal("any/image")
    assert not policy.gpus.refusal(parse_quantity("4"))
    for rule in (policy.namespace, policy.service_account, policy.priority):
        assert rule.refusal("x")
    for rule in (policy.node_selector, policy.tolerations):
        assert rule.refusal(frozenset({"x"}))
    assert policy.uid.prohibited == policy.gid.prohibited == {0}
    for kind in ("secret", "hostPath", "projected", "configMap", "csi", "template"):
        assert policy.volumes.refusal(frozenset({kind}))


@pytest.mark.parametrize("text", ["", "uid: allow\ngid: deny", "uid: {prohibited: []}\ngid: {min: 0}"])
def test_a_policy_cannot_allow_ids_that_the_settings_prohibit(text):
    policy = parse_policy(text, prohibited_uids=frozenset({0, 7}), prohibited_gids=frozenset({8}))
    assert (policy.uid.prohibited, policy.gid.prohibited) == ({0, 7}, {8})


def test_settings_may_prohibit_no_id():
    assert parse_policy("", prohibited_uids=frozenset()).uid.prohibited == frozenset()


@pytest.mark.parametrize(
    ("pattern", "image", "matches"),
    [
        ("registry.example.org/kernels/*", "registry.example.org/kernels/a/b:1", True),
        ("registry.example.org/kernels/*", "registry.example.org/kernels", False),
        ("registry.example.org*", "registry.example.org.evil.test/x", False),
        ("registry.example.org/*", "registry.example.org.evil.test/x", False),
        ("*.example.org/*", "a.example.org/x", True),
        ("*.example.org/*", "evil.test/a.example.org/x", False),
        ("python:3*", "python:3.12", True),
        ("python:3*", "python:3/evil", False),
        ("*/kernels/*", "evil.test/x/kernels/y", False),
        ("*", "python", True),
        ("*/*", "a/b/c", True),
    ],
)
def test_a_star_does_not_reach_out_of_the_registry(pattern, image, matches):
    assert (not parse_policy(f"image: ['{pattern}']").image.refusal(image)) is matches


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("imgae: allow", "no key 'imgae'.*image"),
        ("working_dir: allow", "no key 'working_dir'"),
        ("image: maybe", "'image'.*allow, deny or a list"),
        ("image: registry/*", "'image'.*allow, deny or a list"),
        ("image: [1]", "'image'"),
        ("image: ['a b']", "'image'"),
        ("image: ['[a-z]']", "'image'"),
        ("image: true", "'image'"),
        ("image:", "'image'"),
        ("namespace: {allow: x}", "'namespace'"),
        ("cpus: 8", "'cpus'.*max"),
        ("cpus: {}", "'cpus.max'.*quantity"),
        ("cpus: {max: lots}", "'cpus.max'.*quantity.*'lots'"),
        ("cpus: {max: -1}", "'cpus.max'"),
        ("cpus: {max: true}", "'cpus.max'"),
        ("cpus: {max: [1]}", "'cpus.max'"),
        ("cpus: {maximum: 1}", "'cpus'.*no key 'maximum'.*max"),
        ("memory: {max: 4GB}", "'memory.max'"),
        ("uid: 1000", "'uid'"),
        ("uid: {min: '1000'}", "'uid.min'.*integer"),
        ("uid: {min: -1}", "'uid.min'"),
        ("uid: {min: true}", "'uid.min'"),
        (f"uid: {{max: {MAX_ID + 1}}}", "'uid.max'"),
        ("uid: {min: 5, max: 4}", "'uid.max'.*uid.min"),
        ("uid: {prohibited: 0}", "'uid.prohibited'"),
        ("gid: {prohibited: [root]}", "'gid.prohibited'"),
        ("volumes: allow", "'volumes'.*deny or a list"),
        ("volumes: [pvc]", "'volumes'.*persistentVolumeClaim.*'pvc'"),
        ("volumes: [gitRepo]", "'volumes'"),
        ("volumes: [[nfs]]", "'volumes'"),
        ("node_selector: [disktype]", "'node_selector'.*keys"),
        ("node_selector: {keys: disktype}", "'node_selector.keys'"),
        ("tolerations: {key: [x]}", "'tolerations'.*no key 'key'.*keys"),
        ("[]", "mapping"),
        ("deny", "mapping"),
        ("image: deny\nimage: allow", "'image' is there twice"),
        ("image: [*]", "pod policy"),
        ("image: &a deny", "aliases"),
        ("!!python/object:x {}", "tags"),
        ("image: [", "not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(text, told):
    with pytest.raises(ConfigError, match=told):
        parse_policy(text)


@given(
    st.text(max_size=60)
    | st.builds(
        "{}: {}".format,
        st.sampled_from(sorted(PodPolicy.__struct_fields__)),
        st.text("[]{}:,* abdenylowmxkis0129.-", max_size=20),
    )
)
def test_a_policy_is_read_or_refused(text):
    try:
        parse_policy(text)
    except ConfigError as error:
        assert "pod policy" in error.message  # noqa: PT017 - most texts are policies or not, both are right
