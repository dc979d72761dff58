"""A Spark session, or a sentence why there is none; what fails on Spark, as a sentence."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.errors import SparkFailed, SparkMissing


def missing() -> SparkMissing | None:
    """What Spark lacks here, or None."""
    if find_spec("pyspark") is None:
        return SparkMissing("pyspark", "`pip install 'understudy[spark]'` brings it")
    java = Path(os.environ["JAVA_HOME"]) / "bin" / "java" if "JAVA_HOME" in os.environ else "java"
    # A client of Spark Connect needs no Java of its own.
    if "SPARK_REMOTE" not in os.environ and shutil.which(java) is None:
        return SparkMissing("Java", "install Java 17 or newer, or set JAVA_HOME to it")
    return None


def session(name: str) -> Any:
    """The active session, or a new one by spark-defaults and SPARK_MASTER. Raises SparkError."""
    if lacking := missing():
        raise lacking
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers of local mode: this one
    builder = SparkSession.builder.appName(name).config("spark.ui.showConsoleProgress", "true")
    if master := os.environ.get("SPARK_MASTER"):
        builder = builder.master(master)
    with failing():
        return builder.getOrCreate()


@contextmanager
def failing() -> Iterator[None]:
    """Turns what Spark raises into SparkFailed with its last line."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise SparkFailed(reason(str(error))) from None


def reason(trace: str) -> str:
    """The line of a trace that says what was wrong."""
    python = trace.partition("JVM stacktrace")[0].strip().splitlines() or ["no reason given"]
    named = [line for line in python if line[:1].strip() and ": " in line]
    return (named or python)[-1].strip()[:300]
