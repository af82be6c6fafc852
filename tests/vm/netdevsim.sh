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
# flow rules and RSS contexts, which no emulated card has: rules are kept as they are given, each but
# once, as drivers do; of contexts the kernel itself keeps the tables
cat >"$source/$module/rules.h" <<'RULES'
#include <linux/version.h>

#define RULES 16
#define ENTRIES 64
#define KEY 40
#define CONTEXTS 4
static struct ethtool_rx_flow_spec nsim_rules[RULES];
static u32 nsim_contexts[RULES];
static bool nsim_taken[RULES];
static u32 nsim_table[ENTRIES];
static u8 nsim_key[KEY];

static int nsim_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info, u32 *locations)
{
	u32 i, count = 0;

	switch (info->cmd) {
	case ETHTOOL_GRXRINGS:
		info->data = dev->real_num_rx_queues;
		return 0;
	case ETHTOOL_GRXCLSRULE:
		i = info->fs.location;
		if (i >= RULES || !nsim_taken[i])
			return -ENOENT;
		info->fs = nsim_rules[i];
		info->rss_context = nsim_contexts[i];
		return 0;
	case ETHTOOL_GRXCLSRLCNT:
	case ETHTOOL_GRXCLSRLALL:
		for (i = 0; i < RULES; i++) {
			if (!nsim_taken[i])
				continue;
			if (info->cmd == ETHTOOL_GRXCLSRLALL) {
				if (count == info->rule_cnt)
					return -EMSGSIZE;
				locations[count] = i;
			}
			count++;
		}
		info->rule_cnt = count;
		info->data = info->cmd == ETHTOOL_GRXCLSRLALL ? RULES : 0;
		return 0;
	}
	return -EOPNOTSUPP;
}

static int nsim_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info)
{
	struct ethtool_rx_flow_spec rule = info->fs;
	u32 i, at = rule.location;
	u32 context = rule.flow_type & FLOW_RSS ? info->rss_context : 0;

	if (at >= RULES)
		return -EINVAL;
	if (info->cmd == ETHTOOL_SRXCLSRLDEL) {
		if (!nsim_taken[at])
			return -ENOENT;
		nsim_taken[at] = false;
		return 0;
	}
	if (info->cmd != ETHTOOL_SRXCLSRLINS)
		return -EOPNOTSUPP;
	if (context && !xa_load(&dev->ethtool->rss_ctx, context))
		return -EINVAL;
	for (i = 0; i < RULES; i++) {
		rule.location = i;
		if (i != at && nsim_taken[i] && nsim_contexts[i] == context &&
		    !memcmp(&nsim_rules[i], &rule, sizeof(rule)))
			return -EEXIST;
	}
	nsim_rules[at] = info->fs;
	nsim_contexts[at] = context;
	nsim_taken[at] = true;
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0) /* no more asked for by ETHTOOL_GRXRINGS */
static u32 nsim_get_rx_ring_count(struct net_device *dev)
{
	return dev->real_num_rx_queues;
}
#endif

static u32 nsim_get_rxfh_indir_size(struct net_device *dev)
{
	return ENTRIES;
}

static u32 nsim_get_rxfh_key_size(struct net_device *dev)
{
	return KEY;
}

static int nsim_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh)
{
	u32 i;

	rxfh->hfunc = ETH_RSS_HASH_TOP;
	for (i = 0; rxfh->indir && i < ENTRIES; i++)
		rxfh->indir[i] = netif_is_rxfh_configured(dev) ?
			nsim_table[i] : ethtool_rxfh_indir_default(i, dev->real_num_rx_queues);
	if (rxfh->key)
		memcpy(rxfh->key, nsim_key, KEY);
	return 0;
}

static int nsim_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh,
			 struct netlink_ext_ack *extack)
{
	if (rxfh->hfunc && rxfh->hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	if (rxfh->indir)
		memcpy(nsim_table, rxfh->indir, sizeof(nsim_table));
	if (rxfh->key)
		memcpy(nsim_key, rxfh->key, KEY);
	return 0;
}

static int nsim_put_context(struct net_device *dev, struct ethtool_rxfh_context *context,
			    const struct ethtool_rxfh_param *rxfh, struct netlink_ext_ack *extack)
{
	context->hfunc = ETH_RSS_HASH_TOP;
	return 0;
}

static int nsim_remove_context(struct net_device *dev, struct ethtool_rxfh_context *context,
			       u32 number, struct netlink_ext_ack *extack)
{
	return 0;
}
RULES
cat >"$source/$module/rss.h" <<'RSS'
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
	.get_rx_ring_count = nsim_get_rx_ring_count,
#endif
	.get_rxfh_indir_size = nsim_get_rxfh_indir_size,
	.get_rxfh_key_size = nsim_get_rxfh_key_size,
	.get_rxfh = nsim_get_rxfh,
	.set_rxfh = nsim_set_rxfh,
	.rxfh_max_num_contexts = CONTEXTS + 1,
	.create_rxfh_context = nsim_put_context,
	.modify_rxfh_context = nsim_put_context,
	.remove_rxfh_context = nsim_remove_context,
RSS
sed -i -e 's/^static const struct ethtool_ops nsim_ethtool_ops = {/#include "rules.h"\n\n&\n\t.get_rxnfc = nsim_get_rxnfc,\n\t.set_rxnfc = nsim_set_rxnfc,\n#include "rss.h"/' \
	"$source/$module/ethtool.c"
make -C "linux-headers-$RELEASE" M="/usr/src/$source/$module" CONFIG_NETDEVSIM=m modules
strip -g -o /netdevsim.ko "$source/$module/netdevsim.ko"
INSIDE

cp "$root/netdevsim.ko" "$work/"
umount "$root/dev" "$root/proc" "$root"
