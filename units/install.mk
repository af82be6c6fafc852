# make install: netuned in a virtual environment of its own, units and profiles where systemd,
# D-Bus and polkit look. With DESTDIR, for packaging, it writes there alone and installs no packages.
# OFFLINE=1 fetches nothing: what requirements.lock names must be in the environment.
ifneq ($(word 2,$(DESTDIR)),)
$(error DESTDIR has a space in it, and make would take it for two directories: $(DESTDIR))
endif
override DESTDIR := $(abspath $(DESTDIR:/=))
LIB := $(DESTDIR)/usr/lib/netuned
BUILD := $(LIB)/build
PAGES := $(BUILD)/pages
COMPILE_FOR := $(if $(DESTDIR),-f -s $(DESTDIR) -p /)
CLEANLY := $(SUDO) env PYTHONDONTWRITEBYTECODE=1 TMPDIR=$(BUILD)
PIP_INSTALL := $(CLEANLY) $(LIB)/venv/bin/python -m pip --disable-pip-version-check --no-cache-dir -q \
    install --no-warn-conflicts --force-reinstall
SYSTEM_PYTHON ?= /usr/bin/python3

# Beside the environment. $(MAKER) is a Python that has netuned and need not be the one that is installed.
MAKER := $(LIB)/venv/bin/python
define place
	@$(SUDO) install -d $(DESTDIR)/usr/bin $(DESTDIR)/usr/sbin $(LIB)/profiles.d $(LIB)/irqbalance
	@$(SUDO) install -d $(DESTDIR)/etc/netuned/profiles.d
	@$(SUDO) ln -sf /usr/lib/netuned/venv/bin/netuned $(DESTDIR)/usr/sbin/netuned
	@$(SUDO) ln -sf /usr/lib/netuned/venv/bin/netunedctl $(DESTDIR)/usr/bin/netunedctl
	@$(SUDO) install -m 644 profiles/*.yaml $(LIB)/profiles.d/
	@$(CLEANLY) sh -c '$(MAKER) -Im netuned.cli schema >$(LIB)/profile.schema.json'
	@$(SUDO) install -m 755 units/put-back $(LIB)/
	@$(SUDO) install -m 755 units/irqbalance-policy $(LIB)/irqbalance/netuned
	@$(SUDO) install -D -m 644 units/netuned.service $(DESTDIR)/usr/lib/systemd/system/netuned.service
	@$(SUDO) install -D -m 644 units/irqbalance.service.d/50-netuned.conf \
	    $(DESTDIR)/usr/lib/systemd/system/irqbalance.service.d/50-netuned.conf
	@# In force only where they are enabled
	@$(SUDO) install -m 644 units/netuned-exporter.service units/netuned-metrics.service \
	    units/netuned-metrics.timer $(DESTDIR)/usr/lib/systemd/system/
	@$(SUDO) install -m 644 units/netuned.rules.yml units/netuned.dashboard.json $(LIB)/
	@$(SUDO) ln -sf /usr/lib/netuned/venv/bin/netuned-exporter $(DESTDIR)/usr/bin/netuned-exporter
	@# Not in force: a copy for whoever has threads of NAPI pinned.
	@$(SUDO) install -m 644 units/napi-threads.conf $(LIB)/
	@$(SUDO) install -D -m 644 units/org.netuned1.conf $(DESTDIR)/usr/share/dbus-1/system.d/org.netuned1.conf
	@# Of an earlier version: by it whoever asks netuned anything started it, disabled as it may be.
	@$(SUDO) rm -f $(DESTDIR)/usr/share/dbus-1/system-services/org.netuned1.service
	@$(SUDO) install -D -m 644 units/org.netuned1.policy \
	    $(DESTDIR)/usr/share/polkit-1/actions/org.netuned1.policy
	@$(SUDO) install -D -m 644 units/netuned.apparmor $(DESTDIR)/etc/apparmor.d/netuned
endef

install:
ifeq ($(OFFLINE)$(DESTDIR),)
	@units/apt-ensure python3 python3-venv python3-systemd
endif
	@$(SYSTEM_PYTHON) -Bc 'import sys; sys.exit(sys.version_info < (3, 11) and "netuned needs Python 3.11 or newer")'
	@! grep -qs '^packaged = true' $(LIB)/venv/pyvenv.cfg || { \
	    echo "netuned is installed by a package: remove that first (KEEP=1 leaves settings as they are)." >&2; exit 1; }
	@$(SUDO) rm -rf $(BUILD)
	@$(SUDO) install -d $(BUILD)/source
	@[ -x $(LIB)/venv/bin/python ] || $(CLEANLY) $(SYSTEM_PYTHON) -m venv --system-site-packages $(LIB)/venv
ifndef OFFLINE
	@# Wheels alone: to build one would fetch what builds it, and that without a hash.
	@$(PIP_INSTALL) --only-binary :all: --require-hashes -r requirements.lock
	@# What makes pages and completion, and goes again. One is a source, built by what is there.
	@$(PIP_INSTALL) --only-binary :all: --no-binary argparse-manpage --no-build-isolation \
	    --require-hashes --no-deps --target $(PAGES) -r pages/requirements.lock
endif
	@$(SUDO) cp -R netuned profiles units pyproject.toml README.md $(BUILD)/source/
	@$(PIP_INSTALL) --no-index --no-deps --no-build-isolation $(BUILD)/source
	@if $(CLEANLY) PYTHONPATH=$(PAGES) $(LIB)/venv/bin/python -c 'import argparse_manpage, shtab, systemd' 2>/dev/null; then \
	    $(CLEANLY) PYTHONPATH=$(PAGES) $(LIB)/venv/bin/python -m pages $(DESTDIR)/usr/share; \
	else \
	    echo "No manual pages and no completion: that needs Python's argparse-manpage, shtab and systemd" >&2; \
	fi
	@$(SUDO) rm -rf $(BUILD)
ifneq ($(DESTDIR),)
	@# Scripts name their interpreter, activate its directory: where it will be, not where it is built.
	@grep -rlIF '$(LIB)/venv' $(LIB)/venv/bin $(LIB)/venv/pyvenv.cfg \
	    | xargs -r $(SUDO) sed -i 's|$(LIB)/venv|/usr/lib/netuned/venv|g'
else
	@$(CLEANLY) $(LIB)/venv/bin/python -Im netuned --version >/dev/null
endif
	$(place)
	@$(SUDO) $(LIB)/venv/bin/python -m compileall -q $(COMPILE_FOR) $(LIB)/venv/lib
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
	    ! grep -qs Y /sys/module/apparmor/parameters/enabled \
	        || $(SUDO) apparmor_parser -r /etc/apparmor.d/netuned \
	        || echo "AppArmor does not take netuned's profile: netuned runs without it" >&2; \
	    $(SUDO) systemctl daemon-reload; \
	    $(SUDO) systemctl reload dbus 2>/dev/null || true; \
	    $(SUDO) systemctl enable netuned.service; \
	    $(SUDO) systemctl restart netuned.service; \
	    $(SUDO) systemctl try-restart netuned-exporter.service; \
	else \
	    $(SUDO) systemctl --root=$(or $(DESTDIR),/) enable netuned.service 2>/dev/null || true; \
	fi
	@echo "netuned is installed. No card is touched until a profile is in /etc/netuned/profiles.d; see README.md"

# For packages, which have an environment of their own making (units/carry.py)
install-beside:
	@$(MAKER) -m pages $(DESTDIR)/usr/share
	$(place)

# Puts everything back first, see units/uninstall; KEEP=1 leaves settings as they are.
uninstall:
	@$(SUDO) env KEEP="$(KEEP)" units/uninstall "$(DESTDIR)"
