"""Virtual environments below target/, for scripts that need a package."""

import os
import subprocess
import sys
import venv

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def enter(name, *requirements):
    """Starts the running script again under a Python that has `requirements`; returns there."""
    directory = os.path.join(ROOT, "target", name, "venv")
    if sys.prefix == directory:
        return
    python = os.path.join(directory, "bin", "python")
    if not os.path.exists(python):
        venv.create(directory, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements], check=True)
    os.execv(python, [python, *sys.argv])
