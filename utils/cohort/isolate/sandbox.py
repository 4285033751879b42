"""What the system does to keep student code in its place: limits, no network, no other processes, no files but its own.

All of it holds for the process that calls `enter`, for good. Where the system lacks a part, `missing` says so in words.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

CLONE_THREAD = 0x10000
ALLOW, REFUSE, NOT_THERE = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # the errors EPERM and ENOSYS
NO_NEW_PRIVILEGES, SECCOMP, FILTER, DIE_WITH_PARENT = 38, 22, 2, 1
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # of Landlock, on every architecture
READ_FILES, READ_FILES_AND_FOLDERS = 1 | 4, 1 | 4 | 8
ALL_RIGHTS = {1: 2**13 - 1, 2: 2**14 - 1, 3: 2**15 - 1}  # by version of Landlock

# Commands by which a file or a device is told to send a signal to a process when there is something to read.
SIGNALS_BY_FILES, SIGNALS_BY_DEVICES = [8, 10, 15], [0x8901, 0x8902]

# System calls by architecture: its number in filters, those that are refused, and those that are looked at more closely.
CALLS = {
    "x86_64": {
        "audit": 0xC000003E,
        # sockets, new programs, other processes and their memory, mounts, the kernel, owners and modes of files
        "refused": [41, 42, 49, 57, 58, 59, 101, 272, 308, 310, 311, 322, 165, 166, 161, 155, 29, 68, 64]
        + [200, 129, 297, 248, 249, 250, 298, 321, 323, 424, 425, 434, 438]
        + [90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190]
        # where and how urgently other processes run, and memory that no limit counts
        + [141, 142, 144, 203, 251, 314, 319, 447]
        # queues of messages that outlive a process, watching files, handles of files, comparing processes
        + [240, 241, 300, 301, 303, 304, 312],
        "clone": 56,
        "own": [62, 234, 302],  # kill, tgkill, prlimit64: only of itself
        "commands": {72: SIGNALS_BY_FILES, 16: SIGNALS_BY_DEVICES},  # fcntl, ioctl
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "refused": [198, 203, 200, 221, 117, 97, 268, 270, 271, 281, 40, 39, 51, 41, 194, 186, 190]
        + [130, 138, 240, 217, 218, 219, 241, 280, 282, 424, 425, 434, 438]
        + [52, 53, 452, 54, 55, 88, 5, 6, 7]
        + [140, 118, 119, 122, 30, 274, 279, 447]
        + [180, 181, 262, 263, 264, 265, 272],
        "clone": 220,
        "own": [129, 131, 261],
        "commands": {25: SIGNALS_BY_FILES, 29: SIGNALS_BY_DEVICES},
    },
}
CLONE3 = 435
# The same on every architecture: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, process_madvise, mount_setattr, quotactl_fd,
# process_mrelease, setxattrat, removexattrat, open_tree_attr, file_setattr.
REFUSED = [428, 429, 430, 431, 432, 433, 440, 442, 443, 448, 463, 466, 467, 469]


@cache
def missing() -> list[str]:
    """What this system cannot do, a sentence each."""
    sentences = []
    if not _can_filter():
        sentences.append("This system has no filter of system calls: student code can reach the network.")
    if _landlock_version() < 1:
        sentences.append("This system cannot close files: student code can read, and where you can write, write files.")
    return sentences


def _can_filter() -> bool:
    """Whether system calls can be filtered here: a process tries."""
    if sys.platform != "linux":
        return False
    pid = os.fork()
    if not pid:
        library = ctypes.CDLL(None, use_errno=True)
        library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        os._exit(0 if _filter_calls(library) else 1)
    return os.waitpid(pid, 0)[1] == 0


def die_with_parent() -> None:
    """End this process when the one that started it ends, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, 9, 0, 0, 0)


def enter(home: Path, readable: Iterable[Path], seconds: int, megabytes: int, has_threads: bool = True) -> None:
    """From now on this process, and all it may start, can compute and write into `home`, and little else.

    Args:
        home: its folder; it becomes the working directory.
        readable: files and folders that it may read besides.
        seconds: of processor time.
        megabytes: of memory, besides what it has now.
        has_threads: whether it may start threads.
    """
    die_with_parent()
    os.chdir(home)
    os.environ |= {"HOME": str(home), "TMPDIR": str(home)}
    _limit(seconds, megabytes)
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        _drop_capabilities(library)
        library.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _close_files(library, home, readable)
        _filter_calls(library, has_threads)


def limit_memory(megabytes: int, hard: bool) -> None:
    """Let this process have so much memory besides what it has. Unless `hard`, it may change that again."""
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        size = used + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (size, size if hard else resource.getrlimit(resource.RLIMIT_AS)[1]))


def _limit(seconds: int, megabytes: int) -> None:
    limit_memory(megabytes, hard=True)
    size = megabytes << 20
    # the first limit is a signal, which code may ignore; the second ends it
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    limits = {
        resource.RLIMIT_FSIZE: min(size, 256 << 20),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    # threads count as processes here, and other programs of the same user do too
    current = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    wanted = 4096 if current == resource.RLIM_INFINITY else min(4096, current)
    resource.setrlimit(resource.RLIMIT_NPROC, (wanted, wanted))


def _drop_capabilities(library: ctypes.CDLL) -> None:
    """What root may do beyond any other user."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    library.capset(header, (ctypes.c_uint32 * 6)())


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    return ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, 1)


def _close_files(library: ctypes.CDLL, home: Path, readable: Iterable[Path]) -> None:
    """Landlock: what no rule opens is closed."""
    version = _landlock_version()
    if version < 1:
        return
    rights = ALL_RIGHTS[min(version, 3)]
    rules = library.syscall(CREATE_RULESET, ctypes.byref(ctypes.c_uint64(rights)), 8, 0)
    allowed = [(path, READ_FILES_AND_FOLDERS if path.is_dir() else READ_FILES) for path in readable if path.exists()]
    for path, right in [*allowed, (home, rights)]:
        folder = os.open(path, os.O_PATH)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", right, folder))
        if library.syscall(ADD_RULE, rules, 1, rule, 0):
            raise OSError(ctypes.get_errno(), f"{path} cannot be opened to student code")
        os.close(folder)
    # a device, written to by whoever is silent
    null = os.open("/dev/null", os.O_PATH)
    library.syscall(ADD_RULE, rules, 1, ctypes.create_string_buffer(struct.pack("=Qi", 2 | 4, null)), 0)
    os.close(null)
    if library.syscall(RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "files cannot be closed to student code")
    os.close(rules)


def _filter_calls(library: ctypes.CDLL, has_threads: bool = True) -> bool:
    """Seccomp: a small program that the kernel runs on every system call. False where that cannot be."""
    calls = CALLS.get(platform.machine())
    if calls is None:
        return False
    load, equal, has_bits, end = 0x20, 0x15, 0x45, 0x06
    number, architecture, first_argument, second_argument = 0, 4, 16, 24
    lines = [(load, 0, 0, architecture), (equal, 1, 0, calls["audit"]), (end, 0, 0, REFUSE), (load, 0, 0, number)]
    if platform.machine() == "x86_64":
        lines += [(0x35, 0, 1, 0x40000000), (end, 0, 0, REFUSE)]  # the calls of the x32 variant
    for call in [*calls["refused"], *REFUSED, *([] if has_threads else [calls["clone"]])]:
        lines += [(equal, 0, 1, call), (end, 0, 0, REFUSE)]
    lines += [(equal, 0, 1, CLONE3), (end, 0, 0, NOT_THERE)]  # libraries use clone then, whose flags can be seen
    threads = [(load, 0, 0, first_argument), (has_bits, 1, 0, CLONE_THREAD), (end, 0, 0, REFUSE), (end, 0, 0, ALLOW)]
    lines += [(equal, 0, len(threads), calls["clone"]), *threads]
    for call in calls["own"]:
        itself = [(load, 0, 0, first_argument), (equal, 2, 0, os.getpid()), (equal, 1, 0, 0), (end, 0, 0, REFUSE)]
        if call == calls["own"][0]:
            itself[2] = (equal, 0, 0, 0)  # kill(0) is for a whole group
        lines += [(equal, 0, len(itself) + 1, call), *itself, (end, 0, 0, ALLOW)]
    for call, commands in calls["commands"].items():
        refused = [line for command in commands for line in ((equal, 0, 1, command), (end, 0, 0, REFUSE))]
        closer = [(load, 0, 0, second_argument), *refused, (end, 0, 0, ALLOW)]
        lines += [(equal, 0, len(closer), call), *closer]
    lines.append((end, 0, 0, ALLOW))
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    pointer = struct.pack("@HP", len(lines), ctypes.addressof(program))
    return not library.prctl(SECCOMP, FILTER, ctypes.create_string_buffer(pointer), 0, 0)
