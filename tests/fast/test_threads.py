"""How many threads NumPy's products use."""

import os
import subprocess
import sys

import pytest

from llorch_core.fast.threads import cores

CODE = (
    "from llorch_core.fast.choose import load; import threadpoolctl; load(None, 'numpy', threads={threads});"
    "print(*{{one['num_threads'] for one in threadpoolctl.threadpool_info() if one['user_api'] == 'blas'}})"
)


@pytest.mark.parametrize(
    ("threads", "told", "wanted"), [(None, None, cores()), (1, None, 1), (None, "1", 1), (1, "2", 1)]
)
def test_products_use_the_cores_or_what_was_asked_for(threads, told, wanted):
    given = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    if told:
        given["OPENBLAS_NUM_THREADS"] = told
    ran = subprocess.run(
        [sys.executable, "-c", CODE.format(threads=threads)], capture_output=True, text=True, env=given
    )
    assert ran.stdout.split() == [str(wanted)], ran.stderr
