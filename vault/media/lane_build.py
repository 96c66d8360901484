"""`python -m vault.media.lane_build`: `lane.c` compiled beside its source, where this machine has a compiler.

Without one, or when it fails, media carries packets in Python: the same, at about twice the cost.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from vault.media.lane import LIBRARY, SOURCE, native_library, source_name

FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fstack-protector-strong")
HARDENED = ("-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now")


def build() -> str:
    """What was done, in a sentence."""
    if native_library() is not None:
        return "media's short way is compiled"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "no C compiler: media carries packets in Python, at about twice the cost"
    with tempfile.TemporaryDirectory(dir=LIBRARY.parent) as folder:
        made = Path(folder) / LIBRARY.name
        command = [
            compiler,
            *FLAGS,
            *HARDENED,
            f'-DLANE_SOURCE="{source_name()}"',
            "-o",
            str(made),
            str(SOURCE),
        ]
        if subprocess.run(command, check=False).returncode != 0:
            return "the C compiler failed: media carries packets in Python, at about twice the cost"
        made.replace(LIBRARY)
    return "media's short way is compiled"


if __name__ == "__main__":
    sys.stdout.write(build() + "\n")
