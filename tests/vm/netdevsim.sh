#!/bin/sh
# netdevsim.sh BASE WORK RELEASE VERSION: in a copy of the root file system BASE, of which WORK takes
# the changes, build the module netdevsim for the kernel package of that release and version; it
# comes to be WORK/netdevsim.ko.
# To be run in a mount namespace of its own: what it mounts goes away with it.
set -eu
base=$1 work=$2 release=$3 version=$4
root=$work/root
mkdir "$root" "$work/upper" "$work/overlay"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/overlay" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"

env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
	RELEASE="$release" VERSION="$version" chroot "$root" sh -eu <<'INSIDE'
series=$(echo "$VERSION" | grep -oE '^[0-9]+\.[0-9]+')
source=linux-source-$series module=drivers/net/netdevsim
apt-get -q update
# the compiler comes with the headers: the one that the kernel was built with
apt-get -qy --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install \
	"linux-headers-$RELEASE=$VERSION" "$source=$VERSION" make xz-utils </dev/null
cd /usr/src
tar -xf "$source.tar.xz" "$source/$module"
make -C "linux-headers-$RELEASE" M="/usr/src/$source/$module" CONFIG_NETDEVSIM=m modules
strip -g -o /netdevsim.ko "$source/$module/netdevsim.ko"
INSIDE

cp "$root/netdevsim.ko" "$work/"
umount "$root/dev" "$root/proc" "$root"
