"""Allocates a known number of blocks of one order, and frees them: the truth for counts of events.

A packet socket's receive ring is made of blocks, each one allocation of exactly its size
(alloc_pg_vec in net/packet/af_packet.c); closing the socket frees each of them once.

Usage: python packets.py ORDER BLOCKS [TIMES]. Prints its process id.
"""

import mmap
import os
import socket
import struct
import sys

SOL_PACKET, PACKET_RX_RING = 263, 5
_FRAME_BYTES = 2048


def allocate_and_free(order: int, blocks: int) -> None:
    """So many allocations, then as many frees. It listens to no protocol, so nothing is received."""
    block_bytes = mmap.PAGESIZE << order
    # struct tpacket_req: size and number of blocks, size and number of frames
    request = struct.pack("4I", block_bytes, blocks, _FRAME_BYTES, block_bytes // _FRAME_BYTES * blocks)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as ring:
        ring.setsockopt(SOL_PACKET, PACKET_RX_RING, request)


def main(order: int, blocks: int, times: int = 1) -> None:
    """What the command line asks for."""
    print(os.getpid(), flush=True)
    for _ in range(times):
        allocate_and_free(order, blocks)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
