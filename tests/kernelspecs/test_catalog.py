from __future__ import annotations

import json
import logging
import os
import shutil

import pytest

from enterprise_gateway.errors import KernelSpecNotFound, ResourceNotFound
from enterprise_gateway.kernelspecs.catalog import CHECK_INTERVAL, Catalog, jupyter_kernel_dirs


class Clock:
    """A clock that moves when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds=CHECK_INTERVAL):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def kernels(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    return folder


@pytest.fixture
def make_catalog(kernels, clock):
    def make(*dirs, allowed=None):
        return Catalog(dirs or [kernels], default_name="Python3", allowed=allowed, clock=clock)

    return make


def kernel_json(display_name):
    return json.dumps({"argv": ["run"], "display_name": display_name, "language": "x"})


def install(kernels, name, display_name="X"):
    folder = kernels / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(kernel_json(display_name))
    return folder


def names(catalog):
    return set(catalog.all()) - {"python3"}


def test_names_are_lower_cased_folder_names(kernels, make_catalog):
    install(kernels, "R_kubernetes")
    catalog = make_catalog()
    assert names(catalog) == {"r_kubernetes"}
    assert catalog.get("R_Kubernetes").name == "r_kubernetes"
    assert catalog.default == "python3"


def test_the_earlier_folder_wins(tmp_path, make_catalog):
    install(tmp_path / "a", "mine", "first")
    install(tmp_path / "b", "Mine", "second")
    install(tmp_path / "b", "other", "third")
    catalog = make_catalog(tmp_path / "missing", tmp_path / "a", tmp_path / "b")
    assert catalog.get("mine").display_name == "first"
    assert names(catalog) == {"mine", "other"}


def test_the_native_kernel_is_there_without_an_installed_spec(kernels, make_catalog):
    assert make_catalog().get("python3").argv[1:3] == ("-m", "ipykernel_launcher")
    install(kernels, "python3", "mine")
    assert make_catalog().get("python3").display_name == "mine"


def test_specs_that_are_not_allowed_do_not_exist(kernels, make_catalog):
    install(kernels, "a")
    install(kernels, "B")
    catalog = make_catalog(allowed=frozenset({"B"}))
    assert set(catalog.all()) == {"b"}
    with pytest.raises(KernelSpecNotFound):
        catalog.get("a")


def test_an_unknown_name_is_answered_with_up_to_ten_known_ones(kernels, make_catalog):
    for number in range(12):
        install(kernels, f"k{number:02}")
    catalog = make_catalog(allowed=frozenset(f"k{number:02}" for number in range(12)))
    with pytest.raises(KernelSpecNotFound, match=r"'nope'.* k00, .*k09 and 2 more") as raised:
        catalog.get("nope")
    assert "k10" not in raised.value.message


def test_an_empty_catalog_says_so(make_catalog):
    with pytest.raises(KernelSpecNotFound, match="no kernel specs at all"):
        make_catalog(allowed=frozenset()).get("python3")


def test_changes_on_disk_show_after_the_check_interval(kernels, make_catalog, clock):
    catalog = make_catalog()
    install(kernels, "added", "one")
    assert names(catalog) == {"added"}
    install(kernels, "later")
    (kernels / "added" / "kernel.json").write_text(kernel_json("two"))
    clock.advance(CHECK_INTERVAL / 2)
    assert names(catalog) == {"added"}
    clock.advance()
    assert names(catalog) == {"added", "later"}
    assert catalog.get("added").display_name == "two"
    shutil.rmtree(kernels / "later")
    clock.advance()
    assert names(catalog) == {"added"}


def test_a_change_that_keeps_size_and_time_of_the_file_shows(kernels, make_catalog, clock):
    folder = install(kernels, "mine", "one")
    before = (folder / "kernel.json").stat()
    catalog = make_catalog()
    assert catalog.get("mine").display_name == "one"
    replacement = folder / "kernel.json.new"
    replacement.write_text(kernel_json("two"))
    os.utime(replacement, ns=(before.st_atime_ns, before.st_mtime_ns))
    replacement.replace(folder / "kernel.json")
    clock.advance()
    assert catalog.get("mine").display_name == "two"


def test_a_write_within_one_step_of_the_file_systems_clock_shows(kernels, make_catalog, clock):
    file = install(kernels, "mine", "one") / "kernel.json"
    catalog = make_catalog()
    assert catalog.get("mine").display_name == "one"
    file.write_text(kernel_json("two"))  # the same size and inode; here or there the same time, too
    clock.advance()
    assert catalog.get("mine").display_name == "two"


def test_a_new_logo_shows(kernels, make_catalog, clock):
    folder = install(kernels, "mine")
    catalog = make_catalog()
    assert catalog.get("mine").resources == {}
    (folder / "logo-64x64.png").touch()
    clock.advance()
    assert catalog.get("mine").resources == {"logo-64x64": "logo-64x64.png"}


def test_specs_that_did_not_change_are_not_read_again(kernels, make_catalog, clock):
    install(kernels, "stays")
    catalog = make_catalog()
    stays, everything = catalog.get("stays"), catalog.all()
    clock.advance()
    assert catalog.all() is everything
    install(kernels, "new")
    clock.advance()
    assert catalog.get("stays") is stays
    assert "new" not in everything


def swap_data(mount, generation):
    """Points `..data` at another folder the way kubelet does: a new link is renamed over the old one."""
    (mount / "..data_tmp").symlink_to(generation)
    (mount / "..data_tmp").replace(mount / "..data")


def test_a_config_map_mounted_as_one_spec_is_followed(kernels, make_catalog, clock):
    mount = kernels / "mine"
    for generation in ("..one", "..two"):
        (mount / generation).mkdir(parents=True)
        (mount / generation / "kernel.json").write_text(kernel_json(generation))
        (mount / generation / "logo-svg.svg").touch()
    for name in ("kernel.json", "logo-svg.svg"):
        (mount / name).symlink_to(f"..data/{name}")
    swap_data(mount, "..one")
    catalog = make_catalog()
    assert catalog.get("mine").display_name == "..one"
    swap_data(mount, "..two")
    clock.advance()
    assert catalog.get("mine").display_name == "..two"
    assert catalog.resource("mine", "logo-svg.svg").is_file()


def test_a_config_map_mounted_over_all_specs_is_followed(kernels, make_catalog, clock):
    for generation in ("..one", "..two"):
        install(kernels / generation, "mine", generation)
    (kernels / "mine").symlink_to("..data/mine")
    swap_data(kernels, "..one")
    catalog = make_catalog()
    assert names(catalog) == {"mine"}
    swap_data(kernels, "..two")
    clock.advance()
    assert catalog.get("mine").display_name == "..two"


def test_a_broken_spec_is_logged_once_and_harms_no_other(kernels, make_catalog, clock, caplog):
    install(kernels, "good")
    broken = install(kernels, "broken") / "kernel.json"
    broken.write_text('{"argv": "run"}')
    catalog = make_catalog()
    with caplog.at_level(logging.WARNING):
        for version in range(3):
            install(kernels, "good", f"version {version}")
            assert catalog.get("good").display_name == f"version {version}"
            assert names(catalog) == {"good"}
            clock.advance()
    [message] = caplog.messages
    assert str(broken) in message
    assert "argv" in message
    broken.write_text(kernel_json("mended"))
    clock.advance()
    assert catalog.get("broken").display_name == "mended"


def test_stray_files_and_dangling_links_are_no_specs(kernels, make_catalog):
    (kernels / "README").touch()
    (kernels / "empty").mkdir()
    (kernels / "dangling").symlink_to(kernels / "nowhere")
    assert names(make_catalog()) == set()


def test_a_resource_is_a_file_inside_the_specs_folder(kernels, make_catalog):
    folder = install(kernels, "mine")
    (folder / "static").mkdir()
    (folder / "static" / "kernel.js").write_text("js")
    catalog = make_catalog()
    assert catalog.resource("Mine", "static/kernel.js").read_text() == "js"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".",
        "..",
        "static",
        "static/",
        "missing.png",
        "../outside.txt",
        "static/../../outside.txt",
        "/etc/passwd",
        "//etc/passwd",
        ".hidden",
        "link-out.txt",
        "folder-out/outside.txt",
        "loop",
        "kernel.json",
        "alias.json",
        "a\0b",
        "a\ud800b",
        "x" * 5000,
    ],
)
def test_nothing_else_is_a_resource(kernels, make_catalog, path):
    folder = install(kernels, "mine")
    (folder / "static").mkdir()
    (folder / ".hidden").touch()
    (kernels / "outside.txt").touch()
    (folder / "link-out.txt").symlink_to(kernels / "outside.txt")
    (folder / "folder-out").symlink_to(kernels)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "alias.json").symlink_to("kernel.json")
    with pytest.raises(ResourceNotFound, match="'mine' has no file"):
        make_catalog().resource("mine", path)


def test_a_resource_of_an_unknown_spec_is_not_found(make_catalog):
    with pytest.raises(KernelSpecNotFound):
        make_catalog().resource("..", "kernel.json")


def test_jupyter_s_own_folders_are_searched():
    assert all(folder.name == "kernels" for folder in jupyter_kernel_dirs())
    assert Catalog(jupyter_kernel_dirs(), default_name="python3").get("python3").argv
