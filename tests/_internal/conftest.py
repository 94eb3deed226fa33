import os
import subprocess
import sys

import pytest


@pytest.fixture
def zombie():
    """A process that has ended and that its parent has not waited for yet."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.wait()
