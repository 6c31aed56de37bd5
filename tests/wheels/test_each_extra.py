"""The wheel with each of its extras, in an environment that holds nothing else: `make wheels`."""

import tomllib

import pytest

from tests.built import ROOT, build, install, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STORE = "from anystore import get_store\n"
PACKED = 'with get_store("./x").open("a", "wb", compression={!r}) as file:\n    file.write(b"packed")\n'
# What the extra is for, as far as it goes without a server.
USES = {
    "cli": "import anystore.cli",
    "yaml": "import os, pathlib\npathlib.Path('s.yaml').write_text('uri: memory://x')\n"
    f"os.environ['ANYSTORE_FILE'] = 's.yaml'\n{STORE}assert get_store().uri == 'memory://x'",
    "http": STORE + "get_store('https://host.invalid/files/')",
    "arrow": "import pyarrow\n" + STORE + "get_store('./x').put('t', pyarrow.table({'a': [1]}))\n"
    "assert get_store('./x').get('t', serialization_mode='parquet').num_rows == 1",
    "s3": STORE + "get_store('s3://bucket', backend_config={'region': 'eu'})",
    "gcs": STORE + "get_store('gs://bucket')",
    "azure": STORE + "get_store('az://container', backend_config={'account_name': 'a'})",
    "compression": STORE + PACKED.format("zst") + PACKED.format("lz4"),
    "sql": STORE + "get_store('sqlite:///x.db').put('a', 1)\nassert get_store('sqlite:///x.db').pop('a') == 1",
    "postgres": "import psycopg\n" + STORE + "get_store('postgresql://localhost/x')",
    "mysql": "import pymysql\n" + STORE + "get_store('mysql://localhost/x')",
    "redis": STORE + "get_store('redis://localhost/0/x')",
    "sftp": STORE + "get_store('sftp://host.invalid/x')",
    "webdav": STORE + "import anystore.backends.fsspec.webdav",
    "dagster": "import anystore_dagster as a\n[getattr(a, name) for name in a.__all__]",
    "pipes": "import anystore_dagster as a\na.PipesAnystoreContextLoader()\na.PipesAnystoreMessageWriter()",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))[1]


def test_each_extra_has_a_use():
    assert set(USES) == set(PROJECT["optional-dependencies"]) - {"all"}


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_wheel_works_with_one_extra(wheel, tmp_path, extra):
    python = install(wheel, tmp_path / "environment", extra) / "python"
    for use in USES.values() if extra == "all" else [USES[extra]]:
        run(python, "-c", use, folder=tmp_path)
