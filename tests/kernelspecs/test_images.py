"""The images that kernel specs need on the nodes of a cluster, and the DaemonSet that keeps them there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyter_client.kernelspec import KernelSpecManager

from enterprise_gateway.kernelspecs.images import daemon_set, images_of
from enterprise_gateway.kernelspecs.model import KernelSpec
from enterprise_gateway.kernelspecs.placement import placement_of

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "etc" / "kernelspecs"
SHIPPED = {"EG_KERNEL_IMAGE": "localhost/kernel-py:dev", "EG_AGENT_IMAGE": "localhost/enterprise-gateway:dev"}
KUBERNETES = "enterprise_gateway.services.processproxies.k8s.KubernetesProcessProxy"


def spec(stanza: dict[str, Any] | None, **env: str) -> KernelSpec:
    metadata = {"process_proxy": stanza} if stanza else {}
    placement = placement_of({"metadata": metadata})
    return KernelSpec(
        name="a", argv=("a",), display_name="a", language="a", env=env, resource_dir="/a", placement=placement
    )


def on_kubernetes(**config: str) -> dict[str, Any]:
    return {"class_name": KUBERNETES, "config": config}


def images_command(*arguments: str, folder: Path, **env: str) -> str:
    """What `jupyter enterprisegateway images` prints for the kernel specs in a folder."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "JUPYTER_PATH": str(folder), **env}
    command = [sys.executable, "-m", "enterprise_gateway", "images", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_images_that_a_spec_names_are_found_once() -> None:
    specs = [
        spec(on_kubernetes(image_name="b", executor_image_name="c")),
        spec(on_kubernetes(image_name="b"), KERNEL_EXECUTOR_IMAGE="d"),
        spec(on_kubernetes(), KERNEL_IMAGE="a"),
    ]
    assert images_of(specs, "") == ["a", "b", "c", "d"]


def test_the_default_counts_where_a_spec_names_none() -> None:
    assert images_of([spec(on_kubernetes(image_name="b"))], "default") == ["b"]
    assert images_of([spec(on_kubernetes())], "default") == ["default"]


def test_local_kernel_specs_need_none() -> None:
    assert images_of([spec(None)], "default") == []


def test_the_daemon_set_has_one_container_for_each_image_and_no_account() -> None:
    template = daemon_set(["a", "b"])["spec"]["template"]["spec"]
    assert [each["image"] for each in template["containers"]] == ["a", "b"]
    assert template["automountServiceAccountToken"] is False
    assert "volumes" not in template


def test_the_command_lists_the_images_of_the_shipped_specs(tmp_path: Path) -> None:
    (tmp_path / "kernels").symlink_to(SPECS)
    listed = images_command("--image", "more:1", folder=tmp_path, **SHIPPED).split()
    assert listed == sorted(listed)
    assert {"more:1", *SHIPPED.values()} < set(listed)
    for file in SPECS.glob("*/kernel.json"):
        config = json.loads(file.read_text())["metadata"]["process_proxy"]["config"]
        assert {config[key] for key in ("image_name", "executor_image_name") if key in config} <= set(listed)


def test_the_shipped_daemon_set_is_what_the_command_makes_of_the_shipped_specs(tmp_path: Path) -> None:
    (tmp_path / "kernels").symlink_to(SPECS)
    made = images_command("--daemonset", folder=tmp_path, **SHIPPED)
    shipped = (ROOT / "etc" / "kubernetes" / "image-puller" / "image-puller.yaml").read_text()
    assert yaml.safe_load(made) == yaml.safe_load(shipped), "make image-puller writes it anew"


@pytest.mark.parametrize("name", sorted(file.parent.name for file in SPECS.glob("*/kernel.json")))
def test_jupyter_itself_finds_every_spec_of_the_bundle(name: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    with tarfile.open(bundle, "w:gz") as archive:
        archive.add(SPECS, ".")
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "kernels", filter="data")
    manager = KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")])
    found = manager.get_kernel_spec(name.lower())
    assert found.argv
    assert found.display_name
