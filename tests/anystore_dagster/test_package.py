"""The package as Dagster and pip see it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import anystore_dagster


def test_the_version_is_the_distributions():
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())["project"]
    assert anystore_dagster.__version__ == project["version"]


def test_dagster_knows_the_library_and_nothing_heavy_is_imported():
    code = (
        "import sys, anystore_dagster; from dagster_shared.libraries import DagsterLibraryRegistry as registry; "
        "print(registry.get()['anystore-dagster'], [name for name in ('pyarrow', 'pandas', 'polars', 'pycurl') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.split() == [anystore_dagster.__version__, "[]"]


def test_a_name_is_loaded_when_it_is_used_and_none_loads_what_is_heavy():
    code = (
        "import sys, anystore_dagster; assert 'dagster' not in sys.modules\n"
        "for name in anystore_dagster.__all__: getattr(anystore_dagster, name)\n"
        "assert 'dagster' in sys.modules\n"
        "heavy = ('pyarrow', 'pandas', 'polars', 'numpy', 'matplotlib', 'obstore', 'sqlalchemy', 'redis')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "[]"
