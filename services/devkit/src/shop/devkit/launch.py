"""Start one program so that it cannot outlive the process that started it.

Run by path as ``python -I -S launch.py --parent PID [--signal N] [--uid U --gid G] -- program args...``: it changes
the user if requested, asks the kernel to signal the program when its parent dies, and executes the program (same pid).
Only the standard library is used, and no ``preexec_fn``, which is not safe in a process with threads.

PostgreSQL refuses to run as root. Started with ``--uid`` by root, the program runs as that user and keeps the single
capability to look into folders, so that a data folder below a private one (``/root``, a CI checkout) is usable.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def _search_capability() -> int | None:
    """The smallest available capability that lets a user pass through private folders."""
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))
    wanted = (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)
    return next((capability for capability in wanted if held >> capability & 1), None)


def _change_user(uid: int, gid: int) -> None:
    """Become ``uid``; on Linux keep the search capability (access(2) honours it only without the setuid fix-up)."""
    os.setgroups([])
    os.setgid(gid)
    capability = _search_capability() if sys.platform == "linux" else None
    libc = ctypes.CDLL(None, use_errno=True)
    keep = capability is not None and libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0
    os.setuid(uid)
    if keep and capability is not None:
        sets = (_Sets * 2)(_Sets(*[1 << capability] * 3), _Sets(0, 0, 0))
        libc.capset(ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), ctypes.byref(sets))
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _die_with_parent(signal_number: int, parent: int) -> None:
    """Ask for ``signal_number`` when the starting thread ends; changing the user would reset this, so it comes last."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("launch: the parent process ended before the program started")


def main(arguments: list[str]) -> None:
    """Parse the options in front of ``--`` and become the program behind it."""
    cut = arguments.index("--")
    options = dict(zip(arguments[:cut:2], arguments[1:cut:2], strict=True))
    program = arguments[cut + 1 :]
    if "--uid" in options:
        _change_user(int(options["--uid"]), int(options["--gid"]))
    _die_with_parent(int(options.get("--signal", signal.SIGTERM)), int(options["--parent"]))
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
