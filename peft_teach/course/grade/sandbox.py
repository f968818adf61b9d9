"""The sandbox of a learner's process: what it may do is little, and for a short time.

`confine` is called in that process, before any of the learner's code runs, and cannot be undone.
It sets up as many of these layers as the system has:

    time, memory, files     POSIX limits: seconds of CPU time, bytes beyond the process's own size,
                            bytes of one file, open files, no core dumps
    no processes, network   seccomp (Linux on x86-64 and ARM64): no fork, no exec, no socket, no
                            signals to other processes, no tracing, no new namespaces, nothing
                            that programs share, no changes of a file's mode, owner, times or
                            attributes, nor of a process's priority or affinity
    files                   Landlock (Linux 5.13 and later): Python's own folders and the course's
                            can be read, the scratch folder written, nothing else opened
    privileges              capabilities are dropped, which root needs, too

It returns the names of the layers, which go with each mark into the report. Where seccomp is
missing, sockets are blocked in Python only, which determined code undoes: use the container that
the instructor guide describes.
"""

import ctypes
import os
import platform
import socket
import struct
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import PeftTeachError

MEGABYTE = 2**20
LEAST_MEMORY = 128 * MEGABYTE


@dataclass(frozen=True)
class Limits:
    """What one answer may use for its visible cases, and again for its further ones."""

    seconds: float = 20.0                 # of CPU time; see `clock`
    memory_bytes: int = 1024 * MEGABYTE   # beyond what Python and torch use already
    output_bytes: int = 8 * MEGABYTE      # of all outputs of `run`
    file_bytes: int = 16 * MEGABYTE       # of the largest file, and of the whole scratch folder

    @property
    def clock(self) -> float:
        """The seconds by the clock for all of an answer: the machine may be busy."""
        return 3 * self.seconds + 1

    def __post_init__(self):
        if not (1 <= self.seconds <= 3600 and self.memory_bytes >= LEAST_MEMORY):
            raise PeftTeachError(f"No answer can be graded within {self.seconds:g} seconds and "
                                 f"{self.memory_bytes // MEGABYTE} MB: give it 1 to 3600 seconds, "
                                 f"and {LEAST_MEMORY // MEGABYTE} MB or more.")


def confine(limits: Limits, scratch: Path) -> list[str]:
    """Sandbox this process by all layers that the system has; return their names."""
    readable = _readable()           # asked while everything can be read
    layers = []
    for name, set_up in (
            ("limits", lambda: _resources(limits)),
            ("landlock", lambda: _landlock(readable, scratch)),
            ("capabilities", _no_capabilities), ("seccomp", _seccomp)):
        with suppress(OSError, ImportError, ValueError, AttributeError, LookupError):
            set_up()
            layers.append(name)
    if "seccomp" not in layers:
        _no_sockets()
        layers.append("sockets")
    return layers


def _resources(limits: Limits) -> None:
    """POSIX limits. Windows has none of them: there only the clock ends a process."""
    import resource

    def limit(which: int, value: int, hard: int | None = None) -> None:
        _, most = resource.getrlimit(which)
        most = value + 2**40 if most == resource.RLIM_INFINITY else most
        resource.setrlimit(which, (min(value, most), min(hard or value, most)))

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    seconds = max(1, int(limits.seconds + used))
    limit(resource.RLIMIT_CPU, seconds, seconds + 1)    # SIGXCPU says why; then SIGKILL
    limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    limit(resource.RLIMIT_NOFILE, 64)
    limit(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory_bytes)


# ── Linux: files, processes and the network ─────────────────────────────────────────────────

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_FILTER = 38, 22, 2


def _call(function: str, *arguments: object) -> int:
    """Call a function of the C library. Raises OSError where the system refuses."""
    if sys.platform != "linux":
        raise OSError("not Linux")
    result = getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _no_capabilities() -> None:
    """Drop all privileges of root, in this process for ever."""
    capset = {"x86_64": 126, "aarch64": 91}[platform.machine()]
    header = struct.pack("=Ii", 0x20080522, 0)
    _call("syscall", capset, header, bytes(24))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _readable() -> list[Path]:
    """The folders that Python, its packages and the course need to read."""
    from ... import fetch
    from .. import records

    package = Path(__file__).parents[2]
    folders = [sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), "/usr/lib", "/usr/lib64",
               "/lib", "/lib64", "/usr/share/zoneinfo", package, records.FOLDER, fetch.cache(),
               *(folder for folder in sys.path
                 if Path(folder).name in ("site-packages", "dist-packages"))]
    return [Path(folder) for folder in folders if Path(folder).is_dir()]


def _landlock(readable: list[Path], scratch: Path) -> None:
    """Allow opening only what is below `readable`, to read, and below `scratch`."""
    create, add, restrict = 444, 445, 446    # on every architecture
    abi = _call("syscall", create, None, 0, 1)
    execute, write, read, listing = 1, 2, 4, 8
    every = (1 << {1: 13, 2: 14}.get(abi, 15)) - 1 | (1 << 15 if abi >= 5 else 0)
    # Networks and, from version 6 on, other processes' signals and abstract sockets, too.
    handled = struct.pack("=QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _call("syscall", create, handled[:size], size, 0)
    rules = [(folder, read | listing | execute) for folder in readable]
    rules += [(scratch, every & ~execute), (Path("/dev/null"), read | write),
              (Path("/dev/urandom"), read)]
    for path, allowed in rules:
        if not path.exists():
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not path.is_dir():
            allowed &= execute | write | read
        _call("syscall", add, ruleset, 1, struct.pack("=Qi", allowed & every, opened), 0)
        os.close(opened)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("syscall", restrict, ruleset, 0)
    os.close(ruleset)


# name: its number on x86-64 and on ARM64, which lacks the older ones
_FORBIDDEN = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "ptrace": (101, 117),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "io_uring_setup": (425, 425), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "bpf": (321, 280),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "memfd_create": (319, 279),
    "setpriority": (141, 140), "setsid": (112, 157), "setpgid": (109, 154),
    "open_by_handle_at": (304, 265),
    # What other programs share, by a small number or a name: memory, queues, semaphores.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186),
    "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # What happens outside: in folders, and in the kernel's log.
    "inotify_init": (253, None), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    "syslog": (103, 116),
    # What Landlock does not control: modes, owners, times and attributes of any file by its path.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_setattr": (469, 469),
    "truncate": (76, 45),                                # which Landlock controls from 3 on
    # targets of links, and ids of other processes: they would appear in tracebacks
    "readlink": (89, None), "readlinkat": (267, 78), "getppid": (110, 173), "getpgid": (121, 155),
    "getpgrp": (111, None), "getsid": (124, 156),
    # other processes' scheduling and memory
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "sched_setparam": (142, 118), "ioprio_set": (251, 30), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "kcmp": (312, 272),
}
# name: its number, and the values of its second argument that are forbidden
_COMMANDS = {
    # F_SETOWN, F_SETSIG, F_SETOWN_EX: the kernel would send any signal to any process
    "fcntl": ((72, 25), (8, 10, 15)),
    # FIOSETOWN and SIOCSPGRP, for the same; FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR: a file's flags
    "ioctl": ((16, 29), (0x8901, 0x8902, 0x40086602, 0x401C5820)),
}
_TGKILL, _PRLIMIT, _CLONE, _CLONE3 = (234, 131), (302, 261), (56, 220), (435, 435)
_THREAD = 0x00010000


def _seccomp() -> None:
    """Have the kernel answer "not permitted" to forbidden calls; threads remain possible."""
    column, arch = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}[platform.machine()]
    load, equal, at_least, bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow, refuse, unknown = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026   # EPERM, ENOSYS
    number, architecture, argument, second = 0, 4, 16, 24    # offsets in a filter's input

    def on(value: int | None, *then: tuple) -> list[tuple]:
        """The lines that apply if what was loaded has this value; none for None."""
        return [(equal, 0, len(then), value), *then] if value is not None else []

    no, yes = (give, 0, 0, refuse), (give, 0, 0, allow)
    program = [(load, 0, 0, architecture), (equal, 1, 0, arch), (give, 0, 0, kill),
               (load, 0, 0, number), (at_least, 0, 1, 0x40000000), no]
    for numbers in _FORBIDDEN.values():
        program += on(numbers[column], no)
    for numbers, commands in _COMMANDS.values():
        refused = [line for command in commands for line in on(command, no)]
        program += on(numbers[column], (load, 0, 0, second), *refused, yes)
    # glibc starts threads by clone3, or if that is unknown by clone, whose flags can be read.
    program += on(_CLONE3[column], (give, 0, 0, unknown))
    program += on(_CLONE[column], (load, 0, 0, argument), (bits, 1, 0, _THREAD), no, yes)
    for numbers, own in ((_TGKILL, os.getpid()), (_PRLIMIT, 0)):    # only to this process
        program += on(numbers[column], (load, 0, 0, argument), (equal, 1, 0, own), no, yes)
    program.append(yes)
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    lines = ctypes.create_string_buffer(code, len(code))
    filter = struct.pack("HP", len(program), ctypes.addressof(lines))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_FILTER, filter, 0, 0)


def _no_sockets() -> None:
    """The weakest layer: Python's own sockets raise."""
    def closed(*args, **kwargs):
        raise PermissionError("there is no network here")

    socket.socket = socket.create_connection = socket.socketpair = closed
