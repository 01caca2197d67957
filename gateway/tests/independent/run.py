"""Runs the independent client: installs its pinned packages under target/, compiles the contract, starts contract.py.

Uses the standard library alone. Exit codes: 0 all checks passed, 1 a check failed, 3 something has to be installed.
"""

import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[2] / "proto"
PYTHON_MIN = (3, 10)
INSTALL_SECONDS_MAX = 300
EXIT_MISSING = 3


def missing(what: str, hint: str) -> None:
    """Ends the run: something has to be installed first."""
    print(f"independent client: {what}\n  {hint}", file=sys.stderr)
    sys.exit(EXIT_MISSING)


def installer(scratch: pathlib.Path) -> list[str]:
    """The command that is pip: this Python's own, or that of a virtual environment made for it."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    made = subprocess.run([sys.executable, "-m", "venv", str(scratch)], capture_output=True, text=True)
    if made.returncode != 0:
        shutil.rmtree(scratch, ignore_errors=True)
        missing(
            f"{sys.executable} has neither pip nor a working venv",
            "install pip (Debian and Ubuntu: apt-get install python3-pip; Fedora: dnf install python3-pip)",
        )
    return [str(scratch / "bin" / "python"), "-m", "pip"]


def packages(home: pathlib.Path) -> pathlib.Path:
    """The directory with the pinned packages; installed at the first run, or when the pins or the Python change."""
    pins = HERE / "requirements.txt"
    key = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:16]
    done = home / f"packages-{key}"
    if done.is_dir():
        return done
    # Under a name of this process, and renamed when complete: a run that was cut off leaves nothing half installed.
    partial = home / f"partial-{os.getpid()}"
    pip = installer(home / f"venv-{os.getpid()}")
    print(f"independent client: installing {pins.name} into {done}", file=sys.stderr)
    flags = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--only-binary=:all:"]
    command = [*pip, "install", *flags, "--target", str(partial), "--requirement", str(pins)]
    try:
        failed = subprocess.run(command, timeout=INSTALL_SECONDS_MAX).returncode != 0
    except subprocess.TimeoutExpired:
        failed = True
    shutil.rmtree(home / f"venv-{os.getpid()}", ignore_errors=True)
    if failed:
        shutil.rmtree(partial, ignore_errors=True)
        missing(
            f"pip could not install {pins} within {INSTALL_SECONDS_MAX} s; its own message stands above",
            "make a Python package index reachable (PIP_INDEX_URL names another than pypi.org; HTTPS_PROXY a proxy)",
        )
    try:
        partial.rename(done)
    except OSError:
        # Another run was faster with the same packages.
        shutil.rmtree(partial, ignore_errors=True)
    return done


def compile_contract(installed: pathlib.Path, out: pathlib.Path) -> None:
    """Python classes out of shake.proto, by the stock protoc."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={out}", "shake.proto"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(installed)})


def main() -> None:
    """`run.py HOME SETTING [SCRIPT]`: HOME is a directory under target/, SETTING a file for SCRIPT (contract.py, or its neighbour)."""
    if sys.version_info < PYTHON_MIN:
        wanted = ".".join(map(str, PYTHON_MIN))
        missing(f"this is Python {sys.version.split()[0]}", f"install Python {wanted} or newer")
    home, setting = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    home.mkdir(parents=True, exist_ok=True)
    installed = packages(home)
    generated = setting.parent / "generated"
    compile_contract(installed, generated)
    path = os.pathsep.join([str(installed), str(generated)])
    script = sys.argv[3] if len(sys.argv) > 3 else "contract.py"
    command = [sys.executable, "-B", str(HERE / script), str(setting)]
    sys.exit(subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode)


if __name__ == "__main__":
    main()
