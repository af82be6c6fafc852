"""The machine QEMU is asked for: 8 CPUs on 2 NUMA nodes and five multi-queue cards.

Two sockets of two cores of two threads; CPUs 0-3 are node 0, 4-7 node 1. The two igb stand on
node 1 behind a PCI expander bridge and are cabled to each other; virtio-net's other end is the tap
device `TAP`; vmxnet3 and e1000e are cabled to each other.

The newest kernel's machine has an L3 cache for each core, where others have one for each socket,
and a table by which acpi_cpufreq can be loaded: its CPUs have governors then, and one frequency.
"""

from pathlib import Path

from . import host
from .image import NEWEST, Disk

CPUS = 8
TAP = "tapq0"
IGB_CABLE, CABLE = 1, 2
"""Hubs: between the igb cards, and between vmxnet3 and e1000e."""
QUEUES = 8
AGENT_PORT = "netuned.agent"

IGB = ("enp129s0", "enp130s0")
VIRTIO = "enp0s3"
VMXNET3 = "enp0s4"
E1000E = "enp0s5"
CARDS = (*IGB, VIRTIO, VMXNET3, E1000E)

KERNEL_COMMAND_LINE = (
    *("root=/dev/vda", "rootfstype=ext4", "rw", "fsck.mode=skip", "console=ttyS0", "quiet"),
    *("systemd.show_status=auto", "systemd.condition_needs_update=no"),
    *("no_timer_check", "nowatchdog", "mitigations=off", "audit=0", "init_on_alloc=0"),
    # QEMU dies now and then ("iotlb_to_section: Assertion", its issue 1921) when one CPU sizes the
    # PCI bars while others use their local APIC: the initrd starts the others, after that is done
    "maxcpus=1",
    # without it each CPU that comes online measures its speed: 2 s of emulation instead of 0.1 s
    "lpj=12000000",
    # emulated CPUs share the host's counter: reading it costs no exit, as reading the HPET does
    "tsc=reliable",
    # emulated CPUs take turns on few real ones: grace periods would last for seconds
    "rcupdate.rcu_expedited=1",
    # who wants governors loads it
    "modprobe.blacklist=acpi_cpufreq",
)

_CARDS = (
    # the expander's root ports are what gives the igb cards a NUMA node
    *("-device", "pxb-pcie,id=pxb1,bus_nr=128,numa_node=1,bus=pcie.0,addr=2"),
    *("-device", "pcie-root-port,id=rp1,bus=pxb1,chassis=1"),
    *("-device", "pcie-root-port,id=rp2,bus=pxb1,chassis=2"),
    *("-netdev", f"hubport,id=h1,hubid={IGB_CABLE}"),
    *("-netdev", f"hubport,id=h2,hubid={IGB_CABLE}"),
    *("-device", "igb,id=igb0,netdev=h1,mac=52:54:00:00:00:01,bus=rp1,romfile="),
    *("-device", "igb,id=igb1,netdev=h2,mac=52:54:00:00:00:02,bus=rp2,romfile="),
    "-netdev",
    f"tap,id=t1,ifname={TAP},script=no,downscript=no,queues={QUEUES},vhost=off",
    "-device",
    "virtio-net-pci,id=virtio0,bus=pcie.0,addr=3,netdev=t1,mac=52:54:00:00:00:03,romfile=,"
    f"mq=on,vectors={2 * QUEUES + 2},rss=on,hash=on",
    *("-netdev", f"hubport,id=h3,hubid={CABLE}", "-netdev", f"hubport,id=h4,hubid={CABLE}"),
    *("-device", "vmxnet3,id=vmxnet0,bus=pcie.0,addr=4,netdev=h3,mac=52:54:00:00:00:04,romfile="),
    *("-device", "e1000e,id=e1000e0,bus=pcie.0,addr=5,netdev=h4,mac=52:54:00:00:00:05,romfile="),
)


L3_OF_A_CORE = "smp-cache.0.cache=l3,smp-cache.0.topology=core"
_STATES = """
External (\\_SB.CPUS.C{cpu:03X}, DeviceObj)
Scope (\\_SB.CPUS.C{cpu:03X}) {{
    Name (_PCT, Package () {{
        ResourceTemplate () {{ Register (SystemIO, 16, 0, 0x0680) }},
        ResourceTemplate () {{ Register (SystemIO, 16, 0, 0x0682) }}
    }})
    Name (_PSS, Package () {{
        Package () {{ 2000, 2000, 10, 10, 0, 0 }},
        Package () {{ 2000, 1000, 10, 10, 1, 1 }}
    }})
}}
"""
"""A CPU's two states, by ports that nothing answers at. Of one frequency: where it changes, Linux
takes the time stamp counter for unstable and reads the HPET, which stops an emulated CPU."""


def kernel_command_line(*more: str) -> str:
    """What the guest's kernel is started with."""
    return " ".join((*KERNEL_COMMAND_LINE, *more))


def _frequencies(runtime: Path) -> Path:
    """An ACPI table that gives each CPU `_STATES`, made in the folder."""
    source = runtime / "frequencies.asl"
    each = "".join(_STATES.format(cpu=cpu) for cpu in range(CPUS))
    source.write_text(f'DefinitionBlock ("", "SSDT", 2, "LAB", "STATES", 1) {{{each}}}')
    host.run("iasl", "-p", source.with_suffix(""), source)
    return source.with_suffix(".aml")


def qemu(disk: Disk, runtime: Path, serial: str, append: str, accel: str) -> list[str]:
    """QEMU's command line; its sockets `agent` and `qmp` are made in the folder `runtime`.

    Raises:
        LabError: the newest kernel's ACPI table could not be made there.
    """
    own = disk.system == NEWEST
    return [
        *(host.QEMU, "-name", "netuned-lab"),
        *("-machine", f"q35,{L3_OF_A_CORE}" if own else "q35"),
        *(("-acpitable", f"file={_frequencies(runtime)}") if own else ()),
        # of the AMD that QEMU makes without a vendor's name, Linux 6.1 sees no sibling threads
        # less to emulate: a fifth level of page tables, and what a user's page is to the kernel
        *("-accel", accel, "-cpu", "max,vendor=GenuineIntel,-la57,-smap,-smep", "-m", "2048"),
        *("-smp", f"{CPUS},sockets=2,cores=2,threads=2"),
        *(
            "-object",
            "memory-backend-ram,id=m0,size=1G",
            "-numa",
            "node,nodeid=0,cpus=0-3,memdev=m0",
        ),
        *(
            "-object",
            "memory-backend-ram,id=m1,size=1G",
            "-numa",
            "node,nodeid=1,cpus=4-7,memdev=m1",
        ),
        *("-nodefaults", "-nographic", "-serial", serial),
        *("-kernel", str(disk.kernel), "-initrd", str(disk.initrd), "-append", append),
        # what the guest writes goes with QEMU: the image serves the next machine, too
        "-drive",
        f"file={disk.image},if=none,id=hd0,format=raw,snapshot=on,cache=unsafe",
        *("-device", "virtio-blk-pci,drive=hd0,bus=pcie.0,addr=1"),
        *("-chardev", f"socket,id=agent,path={runtime / 'agent'},server=on,wait=off"),
        *("-device", "virtio-serial-pci,bus=pcie.0,addr=6"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
        *("-qmp", f"unix:{runtime / 'qmp'},server=on,wait=off"),
        *_CARDS,
    ]


def in_own_network(argv: list[str]) -> list[str]:
    """The command in a network namespace that has the tap device and ends with the process.

    Every step replaces itself by the next, so the process started is QEMU in the end; it is killed
    when the thread that started it dies.

    The host sends nothing by the tap device of its own accord, as IPv6 does when a link comes up:
    with Linux 6.12, a queue of QEMU's that had a packet before virtio-net was ready gave no more.
    """
    quiet = f"/proc/sys/net/ipv6/conf/{TAP}/disable_ipv6"
    script = (
        f"ip tuntap add dev {TAP} mode tap multi_queue && "
        f"if [ -e {quiet} ]; then echo 1 >{quiet}; fi && ip link set {TAP} up && "
        'exec setpriv --pdeathsig KILL -- "$@"'
    )
    return ["unshare", "--net", "--", "sh", "-c", script, "sh", *argv]
