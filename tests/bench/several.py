"""The same image to several hosts at once, by one process of vsiflow."""
import os
import re
import subprocess
import time

HOSTS = 4
MIB = 1 << 20


def documents(bench):
    return [f"{bench.folder}/further-{number}.yaml" for number in range(1, HOSTS + 1)]


def processes(bench):
    pids = []
    for number in range(1, HOSTS + 1):
        with open(f"{bench.folder}/further-{number}.pid") as file:
            pids.append(file.read().strip())
    return pids


def introduce(bench, state):
    """Makes the hosts known: a selector finds those that are."""
    small = bench.folder + "/small.img"
    with open(small, "wb") as file:
        file.write(b"raw image".ljust(512))
        file.write(os.urandom(MIB))
    for document in documents(bench):
        command = [bench.vsiflow, "--state", state, "image", "upload", small, "-f", document]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.unlink(small)


def peak_mib(pid):
    """The most memory that a process has had, MiB; none of one that is gone.

    What `wait4` tells of a child counts what it was before it became its program: a copy of this process.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            peak = re.search(r"VmHWM:\s+(\d+)", file.read())
    except OSError:
        return None
    return int(peak.group(1)) / 1024 if peak else None


class Sender:
    """A command that sends, with what it read by system calls for files, its CPU seconds and memory."""

    def __init__(self, command):
        begun = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.read = self.rss = 0
        while not self.ended(child):
            self.look(child.pid)
            time.sleep(0.02)
        self.wall = time.monotonic() - begun
        if child.returncode != 0:
            raise SystemExit(f"{command}: exit {child.returncode}\n{child.stderr.read().decode(errors='replace')}")

    def ended(self, child):
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid == 0:
            return False
        child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu = usage.ru_utime + usage.ru_stime
        return True

    def look(self, pid):
        """What comes from a socket is received, not read: it is not in there."""
        try:
            with open(f"/proc/{pid}/io") as file:
                self.read = int(file.readline().split()[1])
        except OSError:
            pass
        self.rss = peak_mib(pid) or self.rss


def four_hosts(bench, compared, host):
    """MB/s in all, and how much of the processor time is what must be done.

    That is, for each host, what scp with aes128-gcm takes on both sides and one SHA-256 of the file there; and one SHA-256 of
    the file for all of them, by the sender.
    """
    state = bench.fresh_state()
    introduce(bench, state)
    hosts = host(processes(bench))
    before = hosts.seconds()
    sender = Sender([bench.vsiflow, "--state", state, "image", "upload", bench.image, "-l", "role=further"])
    used = hosts.seconds() - before
    middle = {way: all_[len(all_) // 2] for way, all_ in compared.items()}
    scp, digest = middle["scp_gcm"], middle["digest"].cpu
    by_sender = HOSTS * scp.cpu + digest
    in_all = by_sender + HOSTS * (scp.host_cpu + digest)
    return {
        "mb_per_s": round(HOSTS * bench.size / 1e6 / sender.wall, 1),
        "core_s": {"sender": round(sender.cpu, 2), "hosts": round(used, 2)},
        "of_senders_core": round(by_sender / sender.cpu, 2),
        "of_two_cores": round(in_all / (2 * sender.wall), 2),
        "source_read_times": round(sender.read / bench.size, 2),
        "peak_rss_mib": round(sender.rss, 1),
    }
