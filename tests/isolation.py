"""Run a command without a network, or with small or read-only disks, where the system lets its users do so (Linux)."""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

import pytest


def _may(*options: str) -> bool:
    command = ["unshare", "--map-root-user", *options, "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


MAY_LEAVE_THE_NETWORK = _may("--net")
needs_mounts = pytest.mark.skipif(not _may("--mount"), reason="this system lets nobody but its owner mount a disk")


def without_network(command: list[str]) -> list[str]:
    """The command in a network of its own, which holds the loopback and no way out."""
    return ["unshare", "--map-root-user", "--net", sys.executable, __file__, *command]


def with_mounts(script: str, command: list[str]) -> list[str]:
    """The command after a shell script that mounts disks, which nobody else sees."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *command]


if __name__ == "__main__":
    up = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS
    os.execvp(sys.argv[1], sys.argv[1:])
