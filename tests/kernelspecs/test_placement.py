from __future__ import annotations

import pytest

from enterprise_gateway.errors import ConfigError
from enterprise_gateway.kernelspecs.placement import BackendKind, Placement, placement_of

EG = "enterprise_gateway.services.processproxies."


def eg_stanza(class_name, **config):
    return {"class_name": EG + class_name, "config": config}


@pytest.mark.parametrize("kernel_json", [{}, {"metadata": {}}, {"metadata": {"process_proxy": None}}])
def test_a_spec_without_a_stanza_is_local(kernel_json):
    assert placement_of(kernel_json) == Placement(BackendKind.LOCAL)


@pytest.mark.parametrize(
    ("class_name", "backend"),
    [
        ("processproxy.LocalProcessProxy", "local"),
        ("k8s.KubernetesProcessProxy", "kubernetes"),
        ("crd.CustomResourceProcessProxy", "custom-resource"),
        ("spark_operator.SparkOperatorProcessProxy", "spark-operator"),
        ("docker_swarm.DockerSwarmProcessProxy", "docker-swarm"),
        ("docker_swarm.DockerProcessProxy", "docker"),
        ("distributed.DistributedProcessProxy", "distributed"),
        ("yarn.YarnClusterProcessProxy", "yarn"),
        ("conductor.ConductorClusterProcessProxy", "conductor"),
    ],
)
@pytest.mark.parametrize("nest", [lambda s: {"metadata": {"process_proxy": s}}, lambda s: {"process_proxy": s}])
def test_every_class_of_eg_has_a_backend_in_both_places(class_name, backend, nest):
    placement = placement_of(nest(eg_stanza(class_name, image_name="x")))
    assert placement.backend == backend
    assert placement.config == {"image_name": "x"}
    assert placement.named == EG + class_name


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("local-provisioner", "local"),
        ("kubernetes-provisioner", "kubernetes"),
        ("spark-operator-provisioner", "spark-operator"),
        ("docker-provisioner", "docker"),
        ("docker-swarm-provisioner", "docker-swarm"),
        ("distributed-provisioner", "distributed"),
        ("yarn-provisioner", "yarn"),
    ],
)
def test_every_provisioner_has_a_backend(name, backend):
    stanza = {"provisioner_name": name, "config": {"a": 1}}
    placement = placement_of({"metadata": {"kernel_provisioner": stanza}})
    assert (placement.backend, placement.config) == (backend, {"a": 1})


@pytest.mark.parametrize("kind", BackendKind)
def test_custom_resources_are_run_by_the_cluster_s_backend_and_all_others_by_their_own(kind):
    in_a_cluster = {BackendKind.SPARK_OPERATOR, BackendKind.CUSTOM_RESOURCE}
    assert Placement(kind).served_by == (BackendKind.KUBERNETES if kind in in_a_cluster else kind)


def test_eg_s_stanza_counts_before_the_provisioner_and_both_before_the_form_of_2018():
    proxy = eg_stanza("yarn.YarnClusterProcessProxy")
    provisioner = {"provisioner_name": "docker-provisioner"}
    old = eg_stanza("k8s.KubernetesProcessProxy")
    both = {"process_proxy": proxy, "kernel_provisioner": provisioner}
    assert placement_of({"metadata": both, "process_proxy": old}).backend is BackendKind.YARN
    only = {"kernel_provisioner": provisioner}
    assert placement_of({"metadata": only, "process_proxy": old}).backend is BackendKind.DOCKER


def test_an_unknown_class_is_kept_by_name_and_not_imported():
    stanza = {"class_name": "antigravity.Proxy", "config": {"a": 1}}
    placement = placement_of({"metadata": {"process_proxy": stanza}})
    assert placement == Placement(BackendKind.UNKNOWN, {"a": 1}, "antigravity.Proxy")


def test_a_stanza_without_a_class_is_local_and_keeps_its_config():
    stanza = {"config": {"authorized_users": "ann"}}
    placement = placement_of({"metadata": {"process_proxy": stanza}})
    assert placement.backend is BackendKind.LOCAL
    assert placement.authorized_users == {"ann"}


@pytest.mark.parametrize(
    "stanza",
    ["k8s", ["k8s"], {"class_name": ["k8s"]}, {"config": "x"}, {"config": {"authorized_users": {"ann": 1}}}],
)
def test_a_malformed_stanza_is_an_error_and_not_local(stanza):
    with pytest.raises(ConfigError, match=r"metadata\.process_proxy"):
        placement_of({"metadata": {"process_proxy": stanza}})


@pytest.mark.parametrize("users", ["ann,ben", " ann , ben,", ["ann", "ben"]])
def test_users_are_a_comma_separated_string_or_a_list(users):
    config = {"authorized_users": users, "unauthorized_users": users}
    placement = placement_of({"metadata": {"process_proxy": {"config": config}}})
    assert placement.authorized_users == placement.unauthorized_users == {"ann", "ben"}
