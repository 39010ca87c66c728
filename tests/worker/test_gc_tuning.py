"""The collector of a worker's process."""

import subprocess
import sys

from workqueue.services.worker.gc_tuning import YOUNG_MAX

CODE = """
import gc
from workqueue.services.worker.gc_tuning import tune_gc
tune_gc()
print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 1000)
"""


def test_what_exists_at_the_start_is_not_searched_again_and_the_rest_seldom():
    said = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["True", str(YOUNG_MAX), "True"]
