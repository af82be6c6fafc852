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
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check -q
PLATFORMS := manylinux_2_28 manylinux_2_17 manylinux2014
# Of the lock, the lines of what is carried along
CARRIED_LOCK = $(foreach name,$(CARRIED_ALONG),-e '/^$(name)==/,/[^\\]$$/p')

.PHONY: deb

deb: export SOURCE_DATE_EPOCH := $(SOURCE_DATE_EPOCH)

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
	    "$$(sed -n 's/^Maintainer: //p' units/debian/control)" "$$(date -uRd @$$SOURCE_DATE_EPOCH)" \
	    >$(BUILT)/deb/netuned/debian/changelog
	@cd $(BUILT)/deb/netuned && NETUNED_PYTHON=$(abspath $(VENV))/bin/python \
	    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps >../build.log 2>&1 \
	    || { tail -n 30 ../build.log >&2; exit 1; }
	@mv $(BUILT)/deb/*.deb $(DIST)/
	@ls $(DIST)/netuned*_$(VERSION)_*.deb
