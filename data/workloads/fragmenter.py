"""Pipes, sockets, page tables, dentries and locked pages take memory and keep one page of many.

The adversary of free page reporting, and in small the life of a server that has been up for months: kernel
objects and locked pages that stay are scattered over pageblocks of which the rest is free. Much is free then
and little of it in blocks that can be reported, until the last object of a pageblock goes. While so, huge
pages are taken and given back twice. Each round ends with everything released.
"""

import ctypes
import fcntl
import mmap
import os
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

MAP_NORESERVE, SO_SNDBUFFORCE = 0x4000, 32  # Linux, x86-64 and arm64; not in Python's modules

MIB = 1 << 20
PAGE_BYTES = mmap.PAGESIZE
BLOCK_BYTES = 2 * MIB  # a pageblock, and what one page table of the lowest level maps

PIPES = 1000  # of a MiB each; all but the last page is read again
SOCKETS = 1500
MESSAGES = 12  # queued on a socket; all but the last is read again
MESSAGE_BYTES = 32_000
LOCKED_BYTES = 1200 * MIB
LOCK_EVERY_BYTES = MIB // 2  # one page of so many stays, locked
TABLES = 48  # mappings, of which one page in each BLOCK_BYTES is touched
TABLE_BLOCKS = 512
KEEP_TABLES = 6  # one mapping in so many stays
NAMES = 400  # asked for in each directory, and not there: a dentry each
DIRECTORIES = 1500
KEEP_DIRECTORIES = 8  # one in so many stays
BULK_BYTES = 3000 * MIB
BULKS = 2
ROUNDS = 2
FILES = 8192  # how many files this process may have open
PAUSE_S = 5


def private(size_bytes: int) -> mmap.mmap:
    """Anonymous memory in pages of PAGE_BYTES, none of them touched."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    memory = mmap.mmap(-1, size_bytes, flags=flags)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def touch(memory: mmap.mmap, every_bytes: int = PAGE_BYTES) -> None:
    """Write one byte in each `every_bytes`."""
    for start in range(0, len(memory), every_bytes):
        memory[start] = 1


def pipes(stack: ExitStack) -> None:
    """Fill pipes, then read each until it holds its last page."""
    content, ends = bytes(MIB), []
    for _ in range(PIPES):
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        stack.callback(os.close, writing)
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, MIB)
        os.write(writing, content)
        ends.append(reading)
    for reading in ends:
        os.read(reading, MIB - PAGE_BYTES)


def sockets(stack: ExitStack) -> None:
    """Queue messages on pairs of sockets, then receive all but the last of each."""
    content, ends = bytes(MESSAGE_BYTES), []
    for _ in range(SOCKETS):
        sending, receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(sending.close)
        stack.callback(receiving.close)
        sending.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * MESSAGES * MESSAGE_BYTES)
        for _ in range(MESSAGES):
            sending.send(content)
        ends.append(receiving)
    for receiving in ends:
        for _ in range(MESSAGES - 1):
            receiving.recv(MESSAGE_BYTES)


def tables(stack: ExitStack) -> None:
    """Touch sparse mappings in turn, drop their pages (page tables stay), unmap most of the mappings."""
    maps = [private(TABLE_BLOCKS * BLOCK_BYTES) for _ in range(TABLES)]
    for start in range(0, TABLE_BLOCKS * BLOCK_BYTES, BLOCK_BYTES):
        for memory in maps:
            memory[start] = 1
    for number, memory in enumerate(maps):
        memory.madvise(mmap.MADV_DONTNEED)
        if number % KEEP_TABLES:
            memory.close()
        else:
            stack.callback(memory.close)


def locked(stack: ExitStack) -> None:
    """Touch memory, lock one page in each LOCK_EVERY_BYTES, and give back what lies between."""
    memory = private(LOCKED_BYTES)
    stack.callback(memory.close)
    touch(memory)
    first = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(first)
    del first  # it would keep the mapping from being closed
    libc = ctypes.CDLL(None, use_errno=True)
    for start in range(0, LOCKED_BYTES, LOCK_EVERY_BYTES):
        if libc.mlock(ctypes.c_void_p(address + start), ctypes.c_size_t(PAGE_BYTES)):
            raise OSError(ctypes.get_errno(), "mlock")
        memory.madvise(mmap.MADV_DONTNEED, start + PAGE_BYTES, LOCK_EVERY_BYTES - PAGE_BYTES)


def dentries(stack: ExitStack, folder: Path) -> None:
    """Ask for names that are not there: the kernel remembers each until the directory is removed."""
    for number in range(DIRECTORIES):
        directory = folder / f"names-{number}"
        directory.mkdir()
        for name in range(NAMES):
            os.access(f"{directory}/{name}", os.F_OK)
    for number in range(DIRECTORIES):
        directory = folder / f"names-{number}"
        if number % KEEP_DIRECTORIES:
            directory.rmdir()
        else:
            stack.callback(directory.rmdir)


def bulk() -> None:
    """Take huge pages amid all that, hold them, and give them back."""
    for _ in range(BULKS):
        memory = private(BULK_BYTES)
        memory.madvise(mmap.MADV_HUGEPAGE)
        touch(memory)
        time.sleep(PAUSE_S)
        memory.close()
        time.sleep(PAUSE_S)


def scatter(folder: Path) -> None:
    """One round: scatter what stays, take and give back ordinary memory, release all."""
    with ExitStack() as stack:
        for step in (pipes, sockets, tables, locked):
            step(stack)
            time.sleep(PAUSE_S)
        dentries(stack, folder)
        time.sleep(PAUSE_S)
        bulk()
    time.sleep(PAUSE_S)


def run(folder: Path) -> None:
    """Scatter in rounds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), max(hard, FILES)))
    for number in range(ROUNDS):
        scatter(folder)
        print(f"round {number + 1} of {ROUNDS}", flush=True)
