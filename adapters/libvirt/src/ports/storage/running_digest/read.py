# The SHA-256 of the file that the first argument names, as far as standard input says.
# Each line there is a number of blocks, and `end` the last one; after a minute without a line this ends.
# Understood by Python 3.6. DEAF and BLOCK are filled in.
import errno, hashlib, os, select, sys

path = os.fsencode(sys.argv[1])
file = open(path, "rb", buffering=0)
digest, at = hashlib.sha256(), 0
block = memoryview(bytearray(BLOCK))
zeros = memoryview(bytes(BLOCK))


def lines():
    told = b""
    while select.select([0], [], [], DEAF)[0]:
        more = os.read(0, 4096)
        if not more:
            break
        told += more
        while b"\n" in told:
            line, told = told.split(b"\n", 1)
            yield line.decode()


def say(*words):
    print(*words, flush=True)


def data_from():
    """Where data begins from there on: what the file system keeps nothing for reads as zeros."""
    try:
        return os.lseek(file.fileno(), at, os.SEEK_DATA)
    except OSError as error:
        # Nothing but a hole follows, or this file system knows of no holes.
        return os.fstat(file.fileno()).st_size if error.errno == errno.ENXIO else at


def read(until):
    global at
    while at < until:
        most = min(until - at, BLOCK)
        hole = min(data_from() - at, most)
        if hole > 0:
            got, part = hole, zeros
        else:
            file.seek(at)
            got, part = file.readinto(block[:most]), block
        if not got:
            return
        digest.update(part[:got])
        at += got


for line in lines():
    if line == "end":
        for found in os.fstat(file.fileno()), os.stat(path):
            say("file", "%d:%d" % (found.st_dev, found.st_ino), found.st_size)
        say(digest.hexdigest())
        sys.exit(0)
    read(at + int(line) * BLOCK)
    say("read", line)
sys.exit(1)
