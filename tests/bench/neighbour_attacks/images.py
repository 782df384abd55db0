"""A server of images: one whose archive claims a file name of 64 GiB, many that hardly come, and many that need much memory."""
import contextlib
import functools
import lzma
import os
import socket
import struct
import threading
import time

OVF = (b'<?xml version="1.0"?><Envelope><References><File id="f" href="d.vmdk"/></References>'
       b'<DiskSection><Disk fileRef="f"/></DiskSection></Envelope>')
NAME_LENGTH = 64 << 30
# How much of the name is sent at the most, in bytes: more than the daemon's memory.
SENT = 1200 << 20
# The images that hardly come: a qcow2 of which 20 MiB come quickly, and then a byte a second.
SLOW_LENGTH = 8 << 30
SLOW_SENT = 20 << 20
CLUSTER = 1 << 16
# What packed images unpack to: more than the largest dictionary.
UNPACKED = 96 << 20
# How many of their last bytes hardly come.
HELD_BACK = 600


def header(name, size, kind):
    block = bytearray(512)
    block[0:len(name)] = name
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    # A size beyond eight octal digits is in GNU's binary form.
    block[124:136] = b"\x80" + size.to_bytes(11, "big") if size >> 33 else b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar  \0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def qcow2_head():
    """The header of a disk without data."""
    fields = (b"QFI\xfb", 3, 0, 0, 16, SLOW_LENGTH, 0, 16, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104)
    return struct.pack(">4sIQIIQIIQQIIQQQQII", *fields).ljust(CLUSTER, b"\0")


@functools.cache
def packed_xz():
    """As `xz -9` packs: whoever unpacks it needs a dictionary of 64 MiB."""
    return lzma.compress(qcow2_head() + bytes(UNPACKED), preset=9)


@functools.cache
def packed_zstd():
    """A frame (RFC 8878) with a window of 32 MiB and blocks that repeat one byte."""
    block_length, raw, repeated, last = 128 << 10, 0 << 1, 1 << 1, 1
    first = qcow2_head()
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, 15 << 3]) + (len(first) << 3 | raw).to_bytes(3, "little") + first
    block = (block_length << 3 | repeated).to_bytes(3, "little") + b"\0"
    return frame + block * (UNPACKED // block_length) + (block_length << 3 | repeated | last).to_bytes(3, "little") + b"\0"


class HostileImages:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.base = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.url = f"{self.base}/evil.ova"
        self.asked, self.asked_slowly, self.asked_packed = 0, 0, 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(stream,), daemon=True).start()

    def slow(self, number):
        return f"{self.base}/slow-{number}.qcow2"

    def packed(self, number):
        return f"{self.base}/packed-{number}.qcow2.{'xz' if number % 2 else 'zst'}"

    def answer(self, stream):
        # Attackers have machines of their own, too, when they serve.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        with contextlib.suppress(OSError), stream:
            path = stream.recv(65536).split(b"\r\n")[0]
            if b"/packed-" in path:
                self.asked_packed += 1
                self.send_packed(stream, packed_xz() if b".xz" in path else packed_zstd())
            elif b"/slow-" in path:
                self.asked_slowly += 1
                self.trickle(stream)
            else:
                self.asked += 1
                self.send_archive(stream)

    def trickle(self, stream):
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: \"x\"\r\n"
                       b"Content-Length: %d\r\n\r\n" % SLOW_LENGTH + qcow2_head())
        block = bytes(1 << 20)
        for _ in range(SLOW_SENT // len(block)):
            stream.sendall(block)
        while True:
            stream.sendall(b"\0")
            time.sleep(1)

    def send_packed(self, stream, packed):
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: \"x\"\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(packed) + packed[:-HELD_BACK])
        for number in range(len(packed) - HELD_BACK, len(packed)):
            time.sleep(1)
            stream.sendall(packed[number:number + 1])

    def send_archive(self, stream):
        archive = header(b"a.ovf", len(OVF), b"0") + OVF + b"\0" * (-len(OVF) % 512)
        archive += header(b"././@LongLink", NAME_LENGTH, b"L")
        length = len(archive) + NAME_LENGTH
        block = b"A" * (1 << 20)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: \"x\"\r\n"
                       b"Content-Length: %d\r\n\r\n" % length + archive)
        for _ in range(SENT // len(block)):
            stream.sendall(block)

    def close(self):
        self.listener.close()
