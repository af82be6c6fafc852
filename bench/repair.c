/* The floor of a repair: wait for the event that netuned waits for, read, write back what differs.
 * "files FILE...": attributes, by inotify. "qdisc IFINDEX": the limits of pfifo leaves, by
 * rtnetlink. "channels IFNAME": by ethtool's monitor group. What is there at the start is
 * what is wanted. Prints "ready" then, and goes on until it is terminated. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 256

static char buffer[1 << 16];

static void checked(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static void files(int count, char **paths)
{
	static char wanted[MOST][4096];
	static int at[MOST], length[MOST];
	int watch = inotify_init1(IN_CLOEXEC);

	checked(count > MOST ? -1 : watch, "inotify");
	for (int i = 0; i < count; i++) {
		checked(at[i] = open(paths[i], O_RDWR | O_CLOEXEC), paths[i]);
		checked(length[i] = pread(at[i], wanted[i], sizeof wanted[i], 0), paths[i]);
		checked(inotify_add_watch(watch, paths[i], IN_MODIFY), paths[i]);
	}
	ready();
	for (;;) {
		checked(read(watch, buffer, sizeof buffer), "inotify");
		for (int i = 0; i < count; i++) {
			int got = pread(at[i], buffer, sizeof buffer, 0);
			if (got != length[i] || memcmp(buffer, wanted[i], got))
				checked(pwrite(at[i], wanted[i], length[i], 0), paths[i]);
		}
	}
}

static int listening(int protocol, int group)
{
	struct sockaddr_nl here = { .nl_family = AF_NETLINK };
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	checked(sock, "socket");
	checked(bind(sock, (void *)&here, sizeof here), "bind");
	if (group)
		checked(setsockopt(sock, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group),
			"join");
	return sock;
}

struct leaf {
	unsigned handle, parent, limit;
};

static int leaves(int sock, int ifindex, struct leaf *found)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
		.header = { sizeof request, RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
	};
	int count = 0;

	checked(send(sock, &request, sizeof request, 0), "dump");
	for (;;) {
		int left = recv(sock, buffer, sizeof buffer, 0);
		struct nlmsghdr *message = (void *)buffer;
		checked(left, "dump");
		for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
			struct tcmsg *tc = NLMSG_DATA(message);
			struct rtattr *attribute = TCA_RTA(tc);
			int rest = TCA_PAYLOAD(message), pfifo = 0;
			if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
				return count;
			if (tc->tcm_ifindex != ifindex || count == MOST)
				continue;
			for (; RTA_OK(attribute, rest); attribute = RTA_NEXT(attribute, rest)) {
				if (attribute->rta_type == TCA_KIND)
					pfifo = !strcmp(RTA_DATA(attribute), "pfifo");
				if (attribute->rta_type == TCA_OPTIONS && pfifo) {
					struct tc_fifo_qopt *options = RTA_DATA(attribute);
					found[count++] = (struct leaf){ tc->tcm_handle,
						tc->tcm_parent, options->limit };
				}
			}
		}
	}
}

static void replace(int sock, int ifindex, struct leaf leaf)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
		struct rtattr kind;
		char name[8];
		struct rtattr options;
		struct tc_fifo_qopt qopt;
	} request = {
		.header = { sizeof request, RTM_NEWQDISC,
			NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, 2, 0 },
		.tc = { .tcm_ifindex = ifindex, .tcm_handle = leaf.handle,
			.tcm_parent = leaf.parent },
		.kind = { RTA_LENGTH(6), TCA_KIND },
		.name = "pfifo",
		.options = { RTA_LENGTH(sizeof request.qopt), TCA_OPTIONS },
		.qopt = { leaf.limit },
	};

	checked(send(sock, &request, sizeof request, 0), "replace");
	checked(recv(sock, buffer, sizeof buffer, 0), "replace");
}

static void qdisc(int ifindex)
{
	static struct leaf wanted[MOST], found[MOST];
	int events = listening(NETLINK_ROUTE, RTNLGRP_TC), sock = listening(NETLINK_ROUTE, 0);
	int count = leaves(sock, ifindex, wanted);

	ready();
	for (;;) {
		checked(recv(events, buffer, sizeof buffer, 0), "event");
		int now = leaves(sock, ifindex, found);
		for (int i = 0; i < now && i < count; i++)
			if (found[i].limit != wanted[i].limit)
				replace(sock, ifindex, wanted[i]);
	}
}

static int monitor_group(void)
{
	struct {
		struct nlmsghdr header;
		struct genlmsghdr genl;
		struct nlattr attribute;
		char name[8];
	} request = {
		.header = { sizeof request, GENL_ID_CTRL, NLM_F_REQUEST, 1, 0 },
		.genl = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 },
		.attribute = { NLA_HDRLEN + 8, CTRL_ATTR_FAMILY_NAME },
		.name = "ethtool",
	};
	int sock = listening(NETLINK_GENERIC, 0), size;

	checked(send(sock, &request, sizeof request, 0), "family");
	checked(size = recv(sock, buffer, sizeof buffer, 0), "family");
	close(sock);
	/* the number of a group stands in the attribute before its name */
	for (int at = 0; at + 8 <= size; at += 4) {
		struct nlattr *name = (void *)(buffer + at), *id = (void *)(buffer + at - 8);
		if (name->nla_type != CTRL_ATTR_MCAST_GRP_NAME || name->nla_len != NLA_HDRLEN + 8 ||
		    memcmp(name + 1, "monitor", 8))
			continue;
		return *(unsigned *)(id + 1);
	}
	fprintf(stderr, "no monitor group\n");
	exit(1);
}

static void channels(char *name)
{
	int events = listening(NETLINK_GENERIC, monitor_group());
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_channels wanted = { .cmd = ETHTOOL_GCHANNELS }, found;
	struct ifreq request = { .ifr_data = (void *)&wanted };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	checked(ioctl(sock, SIOCETHTOOL, &request), name);
	ready();
	for (;;) {
		checked(recv(events, buffer, sizeof buffer, 0), "event");
		found.cmd = ETHTOOL_GCHANNELS;
		request.ifr_data = (void *)&found;
		checked(ioctl(sock, SIOCETHTOOL, &request), name);
		if (found.rx_count == wanted.rx_count && found.tx_count == wanted.tx_count)
			continue;
		found = wanted;
		found.cmd = ETHTOOL_SCHANNELS;
		checked(ioctl(sock, SIOCETHTOOL, &request), name);
	}
}

int main(int count, char **words)
{
	if (count > 2 && !strcmp(words[1], "files"))
		files(count - 2, words + 2);
	else if (count == 3 && !strcmp(words[1], "qdisc"))
		qdisc(atoi(words[2]));
	else if (count == 3 && !strcmp(words[1], "channels"))
		channels(words[2]);
	return 2;
}
