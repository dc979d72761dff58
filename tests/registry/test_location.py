"""Whether a URI is inside a root, however it is spelled."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.location import inside

names = st.text("abc.-_%2", min_size=1, max_size=6).filter(lambda t: t.strip(".") and "%" not in t)


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("/a/b", "/a/b"),
        ("/a/b/c", "/a/b"),
        ("/a/b/c", "/a/b/"),
        ("/a//b///c", "/a/b"),
        ("/a/x/../b/c", "/a/b"),
        ("/a/./b/c", "/a/b"),
        ("file:///a/b/c", "/a/b"),
        ("/a/b/c", "file:///a/b"),
        ("FILE:///a/b/c", "file:/a/b"),
        ("file://localhost/a/b/c", "/a/b"),
        ("/a b/c", "/a b"),
        ("file:///a%20b/c", "file:///a%20b"),
        ("/anything", "/"),
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("S3://bucket/a/b", "s3://bucket/a/"),
        ("s3://bucket/a//b", "s3://bucket/a"),
        ("s3://bucket/a", "s3://bucket"),
        ("mlflow-artifacts:/1/m/artifacts", "mlflow-artifacts:/1"),
        ("mlflow-artifacts://HOST:5000/1/m", "mlflow-artifacts://host:5000/1"),
    ],
)
def test_inside(uri: str, root: str) -> None:
    assert inside(uri, root)


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("/a/bc", "/a/b"),
        ("/a", "/a/b"),
        ("/a/b/../c", "/a/b"),
        ("/a/b/%2e%2e/c", "/a/b"),
        ("/a/b/%2E%2e%2Fc", "/a/b"),
        ("/a/b/%252e%252e/c", "/a/b"),
        ("file:///a/b/%2e%2e/c", "file:///a/b"),
        ("file:///a/b/..%2fc", "file:///a/b"),
        ("file://elsewhere/a/b/c", "/a/b"),
        ("/A/b", "/a/b"),
        ("a/b", "/a"),
        ("./a/b", "/a"),
        ("", "/a"),
        ("/a/b", ""),
        ("/a/b\x00/c", "/a/b"),
        ("s3://bucket/ab", "s3://bucket/a"),
        ("s3://bucket/a/../b", "s3://bucket/a"),
        ("s3://bucket/b/../a/x", "s3://bucket/a"),
        ("s3://bucket/a/%2e%2e/b", "s3://bucket/a"),
        ("s3://bucket//a/b", "s3://bucket/a"),
        ("s3://bucket/a\\..\\b", "s3://bucket/a"),
        ("s3://other/a/b", "s3://bucket/a"),
        ("s3://bucket.evil/a", "s3://bucket"),
        ("s3://bucket@evil/a", "s3://bucket"),
        ("gs://bucket/a/b", "s3://bucket/a"),
        ("s3://bucket/a/b?x=/../", "s3://bucket/a"),
        ("s3://bucket/a/b#f", "s3://bucket/a"),
        ("/bucket/a", "s3://bucket"),
        ("http://[broken/a", "http://[broken"),
        ("/a/" + "%25" * 3 + "2e%25%32%65/../../b", "/a"),
    ],
)
def test_outside(uri: str, root: str) -> None:
    assert not inside(uri, root)


def test_a_symbolic_link_is_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    assert not inside(str(tmp_path / "root" / "link" / "m"), str(tmp_path / "root"))
    assert inside(str(tmp_path / "alias" / "m"), str(tmp_path / "root"))
    assert inside(str(tmp_path / "root" / "m"), (tmp_path / "alias").as_uri())


@given(st.lists(names, max_size=4), st.lists(names, max_size=4), st.sampled_from(["", "file://"]))
def test_what_is_below_is_inside_and_what_is_beside_is_not(
    root: list[str], more: list[str], scheme: str
) -> None:
    base = "/".join(["/nowhere", *root])
    assert inside("/".join([scheme + base, *more]), base)
    assert not inside("/".join([scheme + base + "x", *more]), base)
    assert not inside("/".join([scheme + base, *more, *[".."] * (len(more) + 1)]), base)
