# The verbs of this project. `make run` and `make test` are all a newcomer needs; CI runs the same ones.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements
COMPILE := --quiet --upgrade --universal --no-header --no-annotate --no-emit-index-url

# Images: HUB and TAG name them, BASE is what they are built on (each Dockerfile says what it must have).
# CLUSTER, if set, is a command that builds an image and puts it into the cluster of KUBECONFIG, as
# `$(CLUSTER) image NAME CONTEXT OPTIONS…`.
HUB ?= localhost
TAG ?= dev
BASE ?=
CLUSTER ?=
BUILDER ?= $(shell command -v docker >/dev/null && docker version >/dev/null 2>&1 && echo docker build || echo buildah build)
BUILD_ARGS = -f $(or $(3),etc/docker)/$(1)/Dockerfile $(if $(BASE),--build-arg BASE=$(BASE)) $(4)
ON_SPARK = --build-arg SPARK=$(HUB)/kernel-spark-py:$(TAG)
ON_SCALA = --build-arg SCALA=$(HUB)/kernel-scala:$(TAG)
build_image = $(if $(CLUSTER),$(CLUSTER) image $(2) . $(BUILD_ARGS),$(BUILDER) -t $(2) $(BUILD_ARGS) .)

EG_CLIENT = $(VENV)/share/enterprise-gateway-3
NB2KG = $(VENV)/share/nb2kg

.DEFAULT_GOAL := help
.PHONY: help run test test-browser cluster-test check docs bench bench-cluster bdist kernelspecs image-puller images docker-images-kubernetes test-images lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 28

run: $(VENV)/.run  ## the gateway on 127.0.0.1:8888 with local kernels
	exec $(BIN)/jupyter-enterprisegateway

test: $(VENV)/.dev $(EG_CLIENT) $(NB2KG)  ## all tests that need neither a cluster nor a browser
	$(BIN)/pytest

test-browser: $(VENV)/.dev $(VENV)/.browser  ## JupyterLab in a real browser; installs chromium where it is missing
	.ci/install-browser
	$(BIN)/pytest -m browser tests/browser

cluster-test: $(VENV)/.dev $(EG_CLIENT) $(if $(CLUSTER),images test-images)  ## tests on the cluster of KUBECONFIG, which must have the images
	CLUSTER_COMMAND=$(CLUSTER) $(BIN)/pytest -m cluster tests/cluster

check: $(VENV)/.dev  ## style, types, imports between floors, documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir $(abspath $(VENV))/site

docs: $(VENV)/.dev  ## the documentation on http://127.0.0.1:8000
	$(BIN)/python -m enterprise_gateway.config.page > docs/configuration.md
	$(BIN)/mkdocs serve

bench: $(VENV)/.dev  ## the table of what must be reached, measured against bare ZMQ in the same run
	$(BIN)/python -m benchmarks

bench-cluster: $(VENV)/.dev $(if $(CLUSTER),images)  ## the same on the one-node cluster of KUBECONFIG, beside bare pods
	PYTHONPATH=tests $(BIN)/python -m benchmarks.cluster

bdist: $(VENV)/.dev  ## a wheel in dist/
	$(BIN)/python -m build --wheel

kernelspecs: $(VENV)/.dev  ## a tarball in dist/ to unpack where Jupyter looks for kernel specs
	mkdir -p dist
	tar --create --gzip --owner=0 --group=0 --directory etc/kernelspecs \
	  --file dist/jupyter_enterprise_gateway_kernelspecs-$$($(BIN)/python -c 'import enterprise_gateway as it; print(it.__version__)').tar.gz .

image-puller: $(VENV)/.dev  ## the DaemonSet in etc/kubernetes/image-puller, for the kernel specs of this source
	mkdir -p $(VENV)/specs && ln -sfn $(abspath etc/kernelspecs) $(VENV)/specs/kernels
	HOME=$(abspath $(VENV)) JUPYTER_PATH=$(abspath $(VENV)/specs) EG_KERNEL_IMAGE=$(HUB)/kernel-py:$(TAG) \
	  EG_AGENT_IMAGE=$(HUB)/enterprise-gateway:$(TAG) $(BIN)/jupyter-enterprisegateway images --daemonset \
	  >etc/kubernetes/image-puller/image-puller.yaml

images docker-images-kubernetes:  ## images of the gateway and of kernels, by docker or buildah
	$(call build_image,gateway,$(HUB)/enterprise-gateway:$(TAG))
	$(call build_image,kernel-py,$(HUB)/kernel-py:$(TAG))
	$(call build_image,kernel-r,$(HUB)/kernel-r:$(TAG))
	$(call build_image,kernel-scala,$(HUB)/kernel-scala:$(TAG))
	$(call build_image,kernel-spark-py,$(HUB)/kernel-spark-py:$(TAG))
	$(call build_image,kernel-spark-r,$(HUB)/kernel-spark-r:$(TAG),,$(ON_SPARK))
	$(call build_image,kernel-spark-scala,$(HUB)/kernel-spark-scala:$(TAG),,$(ON_SCALA))
	$(call build_image,gateway-spark,$(HUB)/enterprise-gateway-spark:$(TAG),,--build-arg GATEWAY=$(HUB)/enterprise-gateway:$(TAG) $(ON_SPARK))

test-images:  ## images that only tests need
	$(call build_image,launchers,$(HUB)/launchers:$(TAG),tests/cluster/images)
	$(call build_image,launchers-scala,$(HUB)/launchers-scala:$(TAG),tests/cluster/images,$(ON_SCALA))
	$(call build_image,launchers-spark,$(HUB)/launchers-spark:$(TAG),tests/cluster/images,$(ON_SPARK))

lock: $(BIN)/python  ## new pins from the ranges in pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml $(COMPILE) --group dev --group run -o $(LOCK)/dev.txt
	$(BIN)/uv pip compile pyproject.toml $(COMPILE) -c $(LOCK)/dev.txt --group run -o $(LOCK)/run.txt
	$(BIN)/uv pip compile pyproject.toml $(COMPILE) -c $(LOCK)/dev.txt --group browser -o $(LOCK)/browser.txt
	$(BIN)/uv pip compile pyproject.toml $(COMPILE) -c $(LOCK)/dev.txt -o $(LOCK)/gateway.txt
	$(BIN)/uv pip compile $(COMPILE) -c $(LOCK)/dev.txt --group run -o $(LOCK)/kernel-py.txt
	$(BIN)/uv pip compile $(COMPILE) -c $(LOCK)/dev.txt --group run --group spark -o $(LOCK)/kernel-spark-py.txt
	$(BIN)/uv pip compile $(COMPILE) --group spark-r -o $(LOCK)/kernel-spark-r.txt

clean:  ## everything made here
	rm -rf $(VENV) dist site test-artifacts tests/node/node_modules

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(EG_CLIENT): $(LOCK)/enterprise-gateway-3.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ -r $<
	touch $@

$(NB2KG): tests/clients/nb2kg-requirements.txt | $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -c 'from support.nb2kg import installed; installed()'
	touch $@

$(VENV)/.%: $(LOCK)/%.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@
