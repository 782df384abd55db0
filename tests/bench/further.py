"""Further hosts for a benchmark in a lab: labs of their own, each with a cable to that one."""
import contextlib
import glob
import os
import subprocess
import time


@contextlib.contextmanager
def host(lab, name, number):
    """Brings the lab NAME-NUMBER up, reachable from the lab NAME.

    Gives the documents by which vsiflow reaches it, and the PID of a process in its namespaces.
    """
    own = f"{name}-{number}"
    environment = dict(os.environ, LAB=own)
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "check": True}
    subprocess.run([lab + "/up"], **quiet)
    try:
        address = cable(name, own, number)
        with server(lab, own, environment, address):
            yield documents(lab, environment, address, number), first_process(own)
    finally:
        subprocess.run([lab + "/down"], **quiet)


def runtime(name):
    """The folder of a lab's small things."""
    return glob.glob(f"/run/vsiflow-lab/????????-{name}")[0]


def first_process(name):
    with open(runtime(name) + "/init") as file:
        return file.read().split()[0]


def cable(name, own, number):
    """Connects both labs' networks; the further lab's address."""
    first, further = first_process(name), first_process(own)
    device = f"further{number}"
    link = f"ip link add {device} netns {first} type veth peer name bench netns {further}"
    subprocess.run(link.split(), check=True)
    for pid, link, last in ((first, device, 1), (further, "bench", 2)):
        for command in (f"ip addr add 10.97.{number}.{last}/30 dev {link}", f"ip link set {link} up"):
            subprocess.run(["nsenter", "--target", pid, "--net", *command.split()], check=True)
    return f"10.97.{number}.2"


@contextlib.contextmanager
def server(lab, own, environment, address):
    """The host's SSH server, at this address, too."""
    config = runtime(own) + "/ssh/sshd_config"
    ours = f"{config}.bench"
    with open(config) as given, open(ours, "w") as file:
        kept = [line for line in given if not line.startswith(("ListenAddress", "PidFile"))]
        file.writelines([f"ListenAddress {address}\n", "PidFile none\n", *kept])
    sshd = subprocess.Popen([lab + "/exec", "/usr/sbin/sshd", "-D", "-f", ours], env=environment,
                            stdin=subprocess.DEVNULL)
    try:
        until_it_listens(lab, environment, address)
        yield
    finally:
        sshd.terminate()
        sshd.wait()


def until_it_listens(lab, environment, address):
    probe = [lab + "/exec", "bash", "-c", f"exec 3<>/dev/tcp/{address}/2222"]
    for _ in range(100):
        if subprocess.run(probe, env=environment, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.1)
    raise SystemExit(f"nobody listens on {address}")


def documents(lab, environment, address, number):
    """The lab's ConfigMap and Secret, by that address and under a name of their own."""
    given = subprocess.run([lab + "/host-config"], env=environment, stdout=subprocess.PIPE, check=True).stdout.decode()
    given = given.replace("127.0.0.1", address).replace("name: lab", f"name: further-{number}")
    return given.replace("config: lab", f"config: further-{number}\n    role: further")
