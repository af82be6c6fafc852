/* The floor: read attributes through kept descriptors, and dump all qdiscs, as C can.
 * Paths come on standard input, one a line. Prints the medians of ROUNDS rounds in microseconds:
 * "files <us>" and "qdiscs <us>". */
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 61
#define MOST 8192

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void dump_qdiscs(int sock)
{
	static char buffer[1 << 16];
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
		.header = { sizeof request, RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
	};
	if (send(sock, &request, sizeof request, 0) < 0)
		exit(1);
	for (;;) {
		int length = recv(sock, buffer, sizeof buffer, 0);
		struct nlmsghdr *message = (struct nlmsghdr *)buffer;
		if (length < 0)
			exit(1);
		for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length))
			if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
				return;
	}
}

int main(void)
{
	static int descriptors[MOST];
	static double files[ROUNDS], qdiscs[ROUNDS];
	char line[4096], content[4096];
	int count = 0, sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	while (count < MOST && fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = 0;
		descriptors[count] = open(line, O_RDONLY | O_CLOEXEC);
		if (descriptors[count++] < 0) {
			perror(line);
			return 1;
		}
	}
	for (int round = 0; round < ROUNDS; round++) {
		double start = now_us();
		for (int i = 0; i < count; i++)
			if (pread(descriptors[i], content, sizeof content, 0) < 0)
				return 1;
		files[round] = now_us() - start;
		start = now_us();
		dump_qdiscs(sock);
		qdiscs[round] = now_us() - start;
	}
	qsort(files, ROUNDS, sizeof *files, ascending);
	qsort(qdiscs, ROUNDS, sizeof *qdiscs, ascending);
	printf("files %.1f\nqdiscs %.1f\n", files[ROUNDS / 2], qdiscs[ROUNDS / 2]);
	return 0;
}
