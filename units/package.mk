# make deb, rpm, dist: built in build/, results in dist/ (BUILT=, DIST=). What is carried along is locked by hash, and of
# what is built two times each bit is the same: every date is that of the last commit.
SOURCE_DATE_EPOCH ?= $(shell git -c safe.directory=$(CURDIR) log -1 --format=%ct)
DIST ?= dist
BUILT ?= build
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' netuned/__init__.py)
PACKAGED := netuned pages profiles units docs Makefile LICENSE README.md pyproject.toml
# Not in Debian 12, or in another version; a test compares these and the rest with what netuned depends on
CARRIED_ALONG := annotated-types dbus-fast pydantic pydantic-core pyroute2 typing-extensions typing-inspection
# Debian 12 and 13; a package has the extension modules for each
DEB_PYTHONS := 3.11 3.13
# Fedora 42 and 43
RPM_PYTHONS := 3.13 3.14
MAINTAINER = $(shell sed -n 's/^Maintainer: //p' units/debian/control)
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q
SAME_TAR = --sort=name --mtime=@$$SOURCE_DATE_EPOCH --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s
PLATFORMS := manylinux_2_28 manylinux_2_17 manylinux2014
# Of the lock, the lines of what is carried along
CARRIED_LOCK = $(foreach name,$(CARRIED_ALONG),-e '/^$(name)==/,/[^\\]$$/p')

.PHONY: deb rpm dist

deb rpm dist: export SOURCE_DATE_EPOCH := $(SOURCE_DATE_EPOCH)

# $(call tree,DIRECTORY,PYTHON…): what a package is built from, with the wheels that it carries
define tree
	@rm -rf $(1)
	@mkdir -p $(1)/wheels $(DIST)
	@cp -R $(PACKAGED) $(1)/
	@find $(1) -name __pycache__ -prune -exec rm -rf {} +
	@sed -n $(CARRIED_LOCK) requirements.lock >$(1)/carried.lock
	@$(foreach python,$(2),$(PIP) download --no-deps \
	    --only-binary :all: --require-hashes --python-version $(python) --implementation cp \
	    $(PLATFORMS:%=--platform %_$(shell uname -m)) --dest $(1)/wheels -r $(1)/carried.lock &&) true
	@$(PIP) wheel --no-index --no-deps --no-build-isolation \
	    --wheel-dir $(1)/wheels $(1)
	@rm -rf $(1)/build $(1)/*.egg-info
endef

# A changelog's one entry is the version: CHANGELOG.md has what changed
deb: setup
	@units/apt-ensure debhelper dh-apparmor dh-python dpkg-dev po-debconf
	$(call tree,$(BUILT)/deb/netuned,$(DEB_PYTHONS))
	@cp -R units/debian $(BUILT)/deb/netuned/debian
	@printf 'netuned (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' '$(VERSION)' \
	    '$(MAINTAINER)' "$$(date -uRd @$$SOURCE_DATE_EPOCH)" \
	    >$(BUILT)/deb/netuned/debian/changelog
	@cd $(BUILT)/deb/netuned && NETUNED_PYTHON=$(abspath $(VENV))/bin/python \
	    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps >../build.log 2>&1 \
	    || { tail -n 30 ../build.log >&2; exit 1; }
	@mv $(BUILT)/deb/*.deb $(DIST)/
	@ls $(DIST)/netuned*_$(VERSION)_*.deb

RPM = $(abspath $(BUILT))/rpm
SPEC = $(RPM)/netuned.spec
# Where rpm is Debian's, systemd's macros are ours
MACROS = $$(rpm --eval '%{!?systemd_post:--load=units/rpm/macros.systemd}')
# The same file whenever and wherever it is built, compressed as Fedora does it
RPM_SAME := --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
    --define '_buildhost netuned' --define '_binary_payload w19.zstdio'
WITHIN := python3 >= $(firstword $(RPM_PYTHONS)) with python3 < 3.$(shell expr 1 + $(subst 3.,,$(lastword $(RPM_PYTHONS))))

rpm: setup
	@units/apt-ensure rpm
	@rm -rf $(RPM)
	$(call tree,$(RPM)/netuned-$(VERSION),$(RPM_PYTHONS))
	@tar $(SAME_TAR) -C $(RPM) -czf $(RPM)/netuned-$(VERSION).tar.gz netuned-$(VERSION)
	@sed -e 's/@VERSION@/$(VERSION)/; s/@PYTHONS@/$(WITHIN)/; s/@MAINTAINER@/$(MAINTAINER)/' \
	    -e "s/@DATE@/$$(LC_ALL=C date -ud @$$SOURCE_DATE_EPOCH '+%a %b %d %Y')/" -e '/@BUNDLED@/{r /dev/stdin' -e 'd}' \
	    units/rpm/netuned.spec >$(SPEC) < <(sed -n 's/^\(.*\)==\([^ ]*\).*/Provides:       bundled(python3dist(\1)) = \2/p' \
	    $(RPM)/netuned-$(VERSION)/carried.lock)
	@NETUNED_PYTHON=$(abspath $(VENV))/bin/python rpmbuild -bb --nodeps $(MACROS) $(RPM_SAME) \
	    --define '_topdir $(RPM)/top' --define '_sourcedir $(RPM)' $(SPEC) >$(RPM)/build.log 2>&1 \
	    || { tail -n 30 $(RPM)/build.log >&2; exit 1; }
	@mv $(RPM)/top/RPMS/*/*.rpm $(DIST)/
	@ls $(DIST)/netuned*-$(VERSION)-*.rpm

SDIST = $(BUILT)/sdist/netuned-$(VERSION)
SBOM = $(BUILT)/sbom

dist: ansible-core
	@rm -rf $(DIST)
	@$(MAKE) --no-print-directory deb rpm
	@cp $(BUILT)/deb/netuned/wheels/netuned-*.whl $(DIST)/
	@# A source distribution is all of the source, so that each of its targets can be made
	@rm -rf $(BUILT)/sdist $(SBOM)
	@mkdir -p $(SDIST)
	@cp -R $(PACKAGED) CHANGELOG.md SECURITY.md ansible bench requirements.lock tests $(SDIST)/
	@find $(SDIST) -name __pycache__ -prune -exec rm -rf {} +
	@cd $(SDIST) && ls -A | sed 's/.*/graft &\ninclude &/' >MANIFEST.in && \
	    $(abspath $(VENV))/bin/python -c 'from setuptools import build_meta; build_meta.build_sdist("..")' >../build.log 2>&1
	@rm -r $(SDIST) && tar -C $(BUILT)/sdist -xzf $(SDIST).tar.gz
	@tar $(SAME_TAR) -C $(BUILT)/sdist -cf - netuned-$(VERSION) | gzip -9n >$(DIST)/netuned-$(VERSION).tar.gz
	@$(PIP) install --only-binary :all: --require-hashes --target $(SBOM) -r units/requirements.lock
	@PYTHONPATH=$(SBOM) $(VENV)/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
	    -o $(DIST)/netuned-$(VERSION).cdx.json requirements.lock
	@$(VENV)/ansible/current/bin/ansible-galaxy collection build --output-path $(DIST) ansible >$(BUILT)/ansible.log
	@cd $(DIST) && sha256sum * >SHA256SUMS && cat SHA256SUMS
