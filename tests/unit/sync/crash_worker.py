"""Runs syncs in processes of their own and kills them at a named point.

Imports once, then forks for every request on standard input, ``folder<TAB>point<TAB>n``: the child stops
itself at the n-th passage of the point. Answers with the signal that ended the child, 0 for none.
"""

import importlib.util
import os
import signal
import sys
import traceback
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("sync_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(SPEC)
sys.modules["sync_conftest"] = conftest
SPEC.loader.exec_module(conftest)


def sync(folder: Path, point: str, passage: int) -> None:
    passed = 0

    def crash(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == passage:
            os.kill(os.getpid(), signal.SIGKILL)

    with conftest.open_company(folder) as company:
        run, _ = company.build(crash_point=crash)
        company.publish(run, crash_point=crash)


for line in sys.stdin:
    folder, point, passage = line.rstrip("\n").split("\t")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sync(Path(folder), point, int(passage))
            code = 0
        except Exception:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    answer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
    sys.stdout.write(f"{answer}\n")
    sys.stdout.flush()
