"""Children that a handler forks have neither our signal handlers nor our listening sockets."""

import subprocess
import sys

from tests.cli.support import environ

CODE = """
import os, signal, socket
from workqueue.services.forks import not_for_children

signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
listener, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))


def is_open(each):
    try:
        os.fstat(each.fileno())
    except OSError:
        return False
    return True


def in_child():
    if (pid := os.fork()) == 0:
        ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ours = ours and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os._exit(4 * ours + 2 * is_open(listener) + is_open(other))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


with not_for_children(listener):
    print(in_child(), is_open(listener))
print(in_child())
with not_for_children(listener):
    number = listener.fileno()
    os.dup2(other.fileno(), number)  # the number belongs to another socket now
    print(in_child())
"""


def test_children_get_default_signals_and_no_listening_socket():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, env=environ(), check=False
    )
    assert (done.stdout.splitlines(), done.stderr) == (["5 True", "7", "7"], "")
