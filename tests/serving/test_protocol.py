"""Requests that may be refused without being parsed: only what leaves no doubt about its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.protocol import plain

BODY = b'{"inputs":[1]}'


def request(
    *lines: bytes, body: bytes = BODY, first: bytes = b"POST /invocations HTTP/1.1"
) -> bytes:
    return b"\r\n".join((first, b"Host: x", *lines, b"", b"")) + body


LENGTH = b"Content-Length: %d" % len(BODY)


def test_a_whole_request_gives_its_id() -> None:
    assert plain(request(LENGTH)) == b""
    assert plain(request(LENGTH, b"X-Request-Id:  Mine 7 ")) == b"Mine 7"
    assert plain(request(b"x-request-id: a", LENGTH.lower(), b"X-Understudy-Key: k")) == b"a"
    assert plain(request(b"content-length: 0", body=b"")) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        request(LENGTH)[:-1],
        request(LENGTH) + b"P",
        request(LENGTH) * 2,
        request(LENGTH)[: len(request(LENGTH)) - len(BODY) - 2],
        request(LENGTH, first=b"GET /invocations HTTP/1.1"),
        request(LENGTH, first=b"POST /invocations HTTP/1.0"),
        request(LENGTH, first=b"POST /invocations?a=b HTTP/1.1"),
        request(LENGTH, first=b"POST /models/m/invocations HTTP/1.1"),
        request(),
        request(LENGTH, LENGTH),
        request(LENGTH, b"Content-Length: 3"),
        request(b"Content-Length: -%d" % len(BODY)),
        request(b"Content-Length: 1_4"),
        request(b"Content-Length: +%d" % len(BODY)),
        request(LENGTH, b"Transfer-Encoding: chunked"),
        request(LENGTH, b"Connection: close"),
        request(LENGTH, b"Expect: 100-continue"),
        request(LENGTH, b"UPGRADE: h2c"),
        request(LENGTH, b"a: " + b"x" * 40_000),
    ],
)
def test_whatever_is_out_of_the_ordinary_is_parsed(data: bytes) -> None:
    assert plain(data) is None


@given(st.binary(max_size=300), st.integers(0, 300))
def test_a_request_that_is_cut_or_has_more_is_never_taken(body: bytes, cut: int) -> None:
    whole = request(b"Content-Length: %d" % len(body), body=body)
    assert plain(whole) == b""
    assert plain(whole[: len(whole) - 1 - cut]) is None
    assert plain(whole + body + b"x") is None
