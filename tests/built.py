"""The distributions as they are built, and environments that hold nothing but one of them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(folder):
    """Build the sdist and the wheel; in the environment of the tests, but for the one package that builds."""
    _pip("install", "--target", folder / "builder", "hatchling")
    argv = [sys.executable, "-m", "hatchling", "build", "-d", folder / "dist"]
    subprocess.run(argv, check=True, cwd=ROOT, env={"PYTHONPATH": str(folder / "builder")}, capture_output=True)
    [sdist] = (folder / "dist").glob("*.tar.gz")
    [wheel] = (folder / "dist").glob("*.whl")
    return sdist, wheel


def install(wheel, folder, extra=""):
    """Make an environment with the wheel, and with one of its extras; give its `bin`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    wanted = f"{wheel}[{extra}]" if extra else wheel
    _pip("--python", folder / "bin" / "python", "install", "--constraint", ROOT / "constraints.txt", wanted)
    return folder / "bin"


def run(program, *words, folder, code=0):
    """Run a program outside of the repository; give what it printed on both streams."""
    done = subprocess.run([program, *words], cwd=folder, env={"HOME": str(folder)}, capture_output=True, text=True)  # noqa: PLW1510 - looked at below
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def _pip(*words):
    done = subprocess.run([sys.executable, "-m", "pip", "-qq", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
