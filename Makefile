# netuned: what can be made. Every target does its own set-up.
#   make demo     the daemon on veth cards in a namespace of its own; changes nothing of the host
#   make test     all tests: linters, unit, odd input, network namespaces, packages, Ansible, a booted VM with card models
#   make install  programs, units and profiles into place (root; DESTDIR= for packaging)
#   make deb, make rpm  packages, in dist/; make dist: a release, with source, SBOM and checksums
#   make lab      the VM with a shell; its disks stay in the cache directory
#   make clean-lab  removes those disks: 0.7 GB for each kernel, more as the source changes
#   make bench    a table of ratios; PARTS="drop idle" for a part of it
#   make man      manual pages and completion for bash, zsh and fish, below build/share
#   make schema   build/profile.schema.json, the JSON Schema of profiles
#   make soak     200 cards for a simulated day, faults, kills, odd input: a table of figures
#   make report-check    pages of `netunedctl report` and `fleet plan` in a headless Chromium, judged by axe-core
#   make report-picture  docs/report.png, for the README
#   make alerts-picture  build/alerts.png: Prometheus' page of netuned's alerts
#   make fuzz     odd input for SECONDS=60 each: a table of inputs tried and tracebacks
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VENV := .venv
PIP_INSTALL_HERE := $(VENV)/bin/python -m pip --disable-pip-version-check -q install
# What sudo drops and the lab asks for: where its disks are kept, where Debian is had from.
CARRIED := env $(foreach name,XDG_CACHE_HOME NETUNED_LAB_MIRROR,$(if $($(name)),$(name)="$($(name))"))
RUN := $(SUDO) $(CARRIED) $(VENV)/bin/python -B

LAYERS := lint unit fuzz netns release ansible vm
# Tests beside each other: of a namespace's most is waiting. What must be alone there says so.
BESIDE_lint := -n 2 --dist worksteal
BESIDE_unit := -n 2 --dist worksteal
BESIDE_release := -n 2 --dist worksteal
BESIDE_netns := -n 4 --dist loadscope
BESIDE_ansible := -n 4 --dist worksteal
# Two machines at a time: an emulated one with 8 CPUs keeps one and a bit of the host's at work.
BESIDE_vm := -n 2 --dist loadscope
layer = $(SUDO) env NETUNED_NO_SKIP="$(NETUNED_NO_SKIP)" \
        $(CARRIED) $(VENV)/bin/python -m pytest $(BESIDE_$(1)) tests/$(1) $(PYTEST)

PACKAGES := python3-venv python3-dev gcc pkg-config libsystemd-dev iproute2 ethtool dbus \
            libglib2.0-bin systemd util-linux bsdutils polkitd kmod strace tmux mandoc zsh fish openssh-client

.PHONY: setup ansible-core demo test lint unit netns release ansible vm atheris fuzz man schema bench soak browser report-check report-picture alerts-picture lab install install-beside uninstall clean clean-lab

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements.lock tests/requirements.lock pages/requirements.lock
	@units/apt-ensure $(PACKAGES)
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL_HERE) --only-binary :all: --require-hashes -r requirements.lock
	@# built by the setuptools that the line above has brought
	@$(PIP_INSTALL_HERE) --only-binary :all: --no-binary systemd-python,argparse-manpage --no-build-isolation \
	    --require-hashes -r requirements.lock -r tests/requirements.lock -r pages/requirements.lock
	@$(PIP_INSTALL_HERE) --no-index --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@[ -x $(VENV)/bin/prometheus ] || units/apt-take prometheus $(VENV)/bin promtool prometheus
	@touch $@

# The oldest and the newest ansible-core that the collection is for, each with what tests it
ansible-core: $(VENV)/ansible/.ready

PIP_INSTALL_THERE = $(VENV)/ansible/$$each/bin/python -m pip --disable-pip-version-check -q install

$(VENV)/ansible/.ready: tests/ansible/oldest.lock tests/ansible/current.lock $(VENV)/.ready
	@for each in oldest current; do \
	    [ -x $(VENV)/ansible/$$each/bin/python ] || $(PYTHON) -m venv $(VENV)/ansible/$$each || exit; \
	    $(PIP_INSTALL_THERE) --only-binary :all: --require-hashes -r tests/ansible/$$each.lock || exit; \
	done
	@touch $@

demo: setup
	@$(RUN) -m tests.netns.demo

# All layers, whichever fails. With PYTEST="-k NAME" most have no such test, which is pytest's 5.
test: setup ansible-core
	@trap 'exit 130' INT; failed=0; $(foreach name,$(LAYERS),\
	    $(call layer,$(name)) $(if $(PYTEST),|| [ $$? = 5 ]) || failed=1;) exit $$failed

lint unit netns release: setup
	@$(call layer,$@)

ansible vm: ansible-core
	@$(call layer,$@)

man: setup
	@$(VENV)/bin/python -m pages build/share

schema: setup
	@mkdir -p build
	@$(VENV)/bin/python -B -m netuned.cli schema >build/profile.schema.json

# On the Python that packages and `make install` run on: another one may be built without optimizations.
bench:
	@$(MAKE) --no-print-directory setup VENV=build/bench PYTHON=$(SYSTEM_PYTHON)
	@$(SUDO) $(CARRIED) env -u PYTHONDONTWRITEBYTECODE build/bench/bin/python -B -m bench $(PARTS)

soak: atheris
	@$(RUN) -m bench.soak

# atheris is 35 MB, has wheels for x86_64 only, and serves nothing else
atheris: setup
	@$(PIP_INSTALL_HERE) --only-binary :all: --require-hashes -r tests/fuzz/requirements.lock

fuzz: atheris
	@$(RUN) -m tests.fuzz $(or $(SECONDS),60)

# A browser is 200 MB, so `make test` does without; axe-core comes in a wheel for another driver of it
browser: setup
	@units/apt-ensure chromium-headless-shell fonts-dejavu-core
	@$(PIP_INSTALL_HERE) --only-binary :all: --no-deps --require-hashes -r tests/browser/requirements.lock

report-check: browser
	@$(VENV)/bin/python -B -m tests.browser build/report

report-picture: browser
	@$(VENV)/bin/python -B -m tests.browser --picture docs/report.png

# Its page needs the whole package, whose service is not to be started
alerts-picture: browser
	@RUNLEVEL=1 units/apt-ensure prometheus
	@$(RUN) -m tests.netns.picture build/alerts.png

lab: setup
	@$(RUN) -m tests.vm.lab shell

# Tests that ran as root left files of root's.
clean:
	$(SUDO) find . -name __pycache__ -prune -exec rm -rf {} +
	$(SUDO) rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

clean-lab:
	@$(SUDO) $(CARRIED) $(PYTHON) -B -m tests.vm.cache

include units/install.mk units/package.mk
