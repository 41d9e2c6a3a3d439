"""What a file system knows a file by, in one integer: a hint that raises doubt about an identity, never a proof.

An inode is used again as soon as its file is gone, and `chmod`, links and renames change a ctime. A local file's id is
its inode, device and ctime; an HDFS file's the NameNode's number for it; 0 where neither is known. There is one for
each file that a table has counted, so it is a single integer and no object of its own.
"""

from __future__ import annotations

import os

UNKNOWN = 0

_NODE_BITS = 64
_DEVICE_BITS = 32
_NODE = (1 << _NODE_BITS) - 1
_DEVICE = ((1 << _DEVICE_BITS) - 1) << _NODE_BITS
_CTIME_SHIFT = _NODE_BITS + _DEVICE_BITS


def file_id(status: os.stat_result) -> int:
    """Return a local file's id; `UNKNOWN` on a file system without inodes."""
    # Literals and no mask (a device's number has 32 bits), because this runs for each file of a folder at each look.
    inode = status.st_ino
    return status.st_ctime_ns << 96 | status.st_dev << 64 | inode if inode else UNKNOWN


def raises_doubt(known: int, now: int) -> bool:
    """Return whether two ids of one path may be those of two files.

    The device is left out: it is numbered anew by reboots and mounts, which would put every file in doubt at once.
    """
    return bool(known and now and (known ^ now) & ~_DEVICE)


def same_node(one: int, other: int) -> bool:
    """Return whether two ids of two paths name one inode of one device, or one file of an HDFS."""
    return bool(one and other and not (one ^ other) & (_DEVICE | _NODE))


def node(number: int) -> int:
    """Return the inode, or the HDFS's own file id: 64 bits."""
    return number & _NODE


def to_text(number: int) -> str | None:
    """Return an id as the ledger holds it: ``device:inode@ctime in ns``, the number of an HDFS file, or None."""
    if number == UNKNOWN:
        return None
    ctime = number >> _CTIME_SHIFT
    device = (number & _DEVICE) >> _NODE_BITS
    return f"{device}:{node(number)}@{ctime}" if ctime or device else str(number)


def from_text(text: str | None) -> int:
    """Return the id of a ledger's text; `UNKNOWN` for None and for what another Wordtide may write there."""
    device, colon, rest = (text or "").partition(":")
    inode, _, ctime = rest.partition("@")
    try:
        if not colon:
            return int(device or UNKNOWN)
        return int(ctime) << _CTIME_SHIFT | (int(device) << _NODE_BITS) & _DEVICE | int(inode) & _NODE
    except ValueError:
        return UNKNOWN
