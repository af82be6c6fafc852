#!/bin/sh
# assemble.sh BASE WORK IMAGE SIZE: lay WORK/guest (the lab's own files) and WORK/src (a checkout)
# over the root file system BASE, install netuned in it, make an ext4 image of the whole.
# To be run in mount and network namespaces of its own: what it mounts goes away with them, and an
# installation that wants the network fails.
set -eu
base=$1 work=$2 image=$3 size=$4
root=$work/root
mkdir "$root" "$work/upper" "$work/overlay"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/overlay" "$root"
cp -R "$work/guest/." "$root/"
mv "$work/src" "$root/src"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"

env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	PIP_NO_INDEX=1 PIP_FIND_LINKS=/var/cache/netuned-lab/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 \
	PIP_ROOT_USER_ACTION=ignore chroot "$root" sh -eu <<'INSIDE'
systemctl --quiet enable netuned-lab-agent.service systemd-networkd.service
systemctl --quiet mask systemd-networkd-wait-online.service systemd-firstboot.service \
	systemd-hibernate-clear.service systemd-pstore.service systemd-tpm2-setup-early.service \
	systemd-tpm2-setup.service e2scrub_reap.service e2scrub_all.timer apt-daily.timer \
	apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer
# Emulated CPUs would compile others' profiles at each boot.
find /etc/apparmor.d -maxdepth 1 -type f -delete
if [ -e /src/Makefile ]; then
	make -C /src install OFFLINE=1
fi
INSIDE

umount "$root/dev" "$root/proc"
rm -rf "$root/src"
mke2fs -q -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$image" "$size"
