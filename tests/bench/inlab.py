"""What benchmarks on the lab's host have in common: a release build, a lab around them, their own second half in it."""
import contextlib
import os
import subprocess
import tempfile

import further

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LAB = os.environ.get("LAB", "bench")


def run(script, binary, words, hosts=0):
    """Builds vsiflow unless `binary` names it, brings a lab up, runs `script --inside FOLDER …` in it, takes it down.

    In FOLDER is host.yaml, by which vsiflow reaches the host. So many further hosts have further-1.yaml and so on, and
    further-1.pid with a process in their namespaces. Returns the exit code.
    """
    if not binary:
        subprocess.run(["cargo", "build", "--release", "-q", "--locked", "-p", "vsiflow"], cwd=ROOT, check=True)
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        binary = os.path.join(target, "release", "vsiflow")
    environment = dict(os.environ, LAB=LAB, NO_COLOR="1")
    lab = os.path.join(ROOT, "deploy/lab")
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "check": True}
    subprocess.run([lab + "/up"], **quiet)
    try:
        host = subprocess.run([lab + "/host-config"], env=environment, stdout=subprocess.PIPE, check=True).stdout
        with tempfile.TemporaryDirectory(prefix="vsiflow-bench-") as folder, contextlib.ExitStack() as stack:
            with open(folder + "/host.yaml", "wb") as file:
                file.write(host)
            for number in range(1, hosts + 1):
                document, process = stack.enter_context(further.host(lab, LAB, number))
                for kind, content in (("yaml", document), ("pid", process)):
                    with open(f"{folder}/further-{number}.{kind}", "w") as file:
                        file.write(content)
            command = [lab + "/exec", os.path.realpath(script), "--inside", folder]
            command += ["--binary", os.path.abspath(binary), *words]
            return subprocess.run(command, env=environment).returncode
    finally:
        subprocess.run([lab + "/down"], **quiet)
