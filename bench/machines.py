"""Described machines, by name, on which placements are compared."""

MACHINES = {
    "32 CPUs, 8 queues": """\
cores: 16
threads: 2
cards:
  - {name: eth0, driver: ixgbe, queues: 8}
""",
    "2 CPUs": """\
cores: 2
cards:
  - {name: eth0, driver: virtio_net, queues: 2}
""",
    "1 CPU": """\
cards:
  - {name: eth0, driver: virtio_net, queues: 1}
""",
    "desktop, 8 P and 16 E cores": """\
cores: 8
threads: 2
efficiency: 16
numbering: adjacent
cards:
  - {name: eth0, driver: ice, queues: 16}
""",
    "12 cores in two CCDs": """\
l3s: 2
cores: 6
threads: 2
cards:
  - {name: eth0, driver: mlx5_core, queues: 8}
""",
    "2 nodes, a card on each": """\
nodes: 2
cores: 16
threads: 2
cards:
  - {name: eth0, driver: ice, node: 0, queues: 8}
  - {name: eth1, driver: ice, node: 1, queues: 12}
""",
    "2 nodes, two cards on one": """\
nodes: 2
cores: 16
threads: 2
cards:
  - {name: eth0, driver: ice, node: 1, queues: 8}
  - {name: eth1, driver: ice, node: 1, queues: 8}
""",
    "2 nodes, three unequal cards on one": """\
nodes: 2
l3s: 2
cores: 10
threads: 2
cards:
  - {name: eth0, driver: ice, node: 0, queues: 8}
  - {name: eth1, driver: i40e, node: 0, queues: 13}
  - {name: eth2, driver: mlx5_core, node: 0, queues: 24}
""",
    "2 nodes, a card without a node": """\
nodes: 2
cores: 12
threads: 2
cards:
  - {name: eth0, driver: ena, queues: 8}
""",
    "2 nodes of 8 CCDs": """\
nodes: 2
l3s: 8
cores: 8
threads: 2
cards:
  - {name: eth0, driver: mlx5_core, node: 0, queues: 63}
  - {name: eth1, driver: mlx5_core, node: 1, queues: 20}
""",
    "2 nodes, 64 queues": """\
nodes: 2
cores: 20
threads: 2
cards:
  - {name: eth0, driver: mlx5_core, node: 0, queues: 64}
""",
    "bond over two nodes": """\
nodes: 2
cores: 8
threads: 2
cards:
  - {name: eth0, driver: ice, node: 0, queues: 8}
  - {name: eth1, driver: ice, node: 1, queues: 8}
  - {name: bond0, kind: bond, over: [eth0, eth1]}
""",
    "bond on one node": """\
nodes: 2
cores: 8
threads: 2
cards:
  - {name: eth0, driver: ice, node: 0, queues: 6}
  - {name: eth1, driver: ice, node: 0, queues: 6}
  - {name: bond0, kind: bond, over: [eth0, eth1]}
""",
    "bond with a card without a node": """\
nodes: 4
l3s: 2
cores: 7
threads: 2
cards:
  - {name: eth0, driver: mlx5_core, node: -1, queues: 47}
  - {name: eth1, driver: mlx5_core, node: 3, queues: 28}
  - {name: eth2, driver: mlx5_core, node: -1, queues: 24}
  - {name: eth3, driver: mlx5_core, node: 2, queues: 5}
  - {name: bond0, kind: bond, over: [eth0, eth1, eth2]}
""",
    "isolated CPUs": """\
nodes: 2
cores: 8
threads: 2
isolated: 2-7,18-23
cards:
  - {name: eth0, driver: ice, node: 0, queues: 8}
  - {name: eth1, driver: ice, node: 1, queues: 8}
""",
    "2 nodes, some CPUs offline": """\
nodes: 2
l3s: 2
cores: 6
threads: 2
offline: 1,3,12-14,24-29,40
cards:
  - {name: eth0, driver: ice, node: 0, queues: 10}
  - {name: eth1, driver: ice, node: 1, queues: 10}
""",
}


def large(queues: int = 128, nodes: int = 16) -> str:
    """1,024 CPUs with 64 cards of so many queues, spread over the nodes."""
    cards = "".join(
        f"  - {{name: n{node}p0, driver: mlx5_core, node: {node}, count: {64 // nodes}, "
        f"queues: {queues}, maximum: {queues}}}\n"
        for node in range(nodes)
    )
    return f"nodes: {nodes}\nl3s: {64 // nodes}\ncores: 8\nthreads: 2\ncards:\n{cards}"


LARGE = "1,024 CPUs, 64 cards of 128 queues"
