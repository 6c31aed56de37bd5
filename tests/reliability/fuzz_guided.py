"""Fuzz one target by atheris, which looks for inputs that run other lines of ours; a program like ``fuzz.py``."""

import importlib
import random
import sys
from pathlib import Path
from typing import Any

import atheris

from tests.reliability.fuzz import Watch, arguments, fuzz


def _main() -> None:
    chosen = arguments()
    with atheris.instrument_imports(include=["anystore"], enable_loader_override=False):
        importlib.import_module("tests.reliability.fuzz_targets")

    def way(watch: Watch, target: Any, folder: Path) -> None:
        corpus, words = folder / "corpus", folder / "words"
        corpus.mkdir()
        for number, data in enumerate(target.corpus):
            (corpus / str(number)).write_bytes(data)
        words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words))
        argv = [sys.argv[0], str(corpus), f"-dict={words}", f"-max_total_time={round(chosen.seconds)}", "-max_len=4096"]
        argv += [
            f"-seed={random.Random(chosen.seed).getrandbits(31)}",
            f"-artifact_prefix={folder}/",
            "-rss_limit_mb=0",
        ]
        atheris.Setup(argv, watch.run)
        atheris.Fuzz()  # which ends the process

    fuzz(chosen, way)


if __name__ == "__main__":
    _main()
