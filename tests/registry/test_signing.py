"""Keys, signatures, and what verify demands once params.yaml names keys."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from registry import ledger, promote, register, signing, verify
from registry.errors import KeyRefused
from registry.ledger import Entry, Signature
from registry.promote import Wish
from registry.sections import GATES, GateParams
from registry.stages import Stage
from registry.store import Store
from tests.conftest import Tiny

ENTRY = Entry(
    kind="promote",
    model="m",
    version=1,
    source=Stage.NONE,
    target=Stage.PRODUCTION,
    actor="ana",
    reason="",
    time="2026-01-01T00:00:00+00:00",
    prev=ledger.GENESIS,
)


@pytest.fixture
def ana(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "keys" / "ana.pem"
    return path, signing.generate(path)


def test_a_key_is_its_owners_only_and_never_overwritten(ana: tuple[Path, str]) -> None:
    path, public = ana
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing.Signer(path).public == public
    before = path.read_bytes()
    with pytest.raises(KeyRefused, match="is there already, and a key is never overwritten"):
        signing.generate(path)
    assert path.read_bytes() == before


def test_a_signature_goes_with_its_entry_and_no_other(ana: tuple[Path, str]) -> None:
    path, public = ana
    signed = signing.Signer(path)(ENTRY)
    again, signature = ledger.parse_signed(ledger.render(ENTRY, signed))
    assert (again, signature) == (ENTRY, signed)
    assert signing.problem(again, signature, {"Ana ": public}) is None
    other = dataclasses.replace(ENTRY, version=2)
    assert signing.problem(other, signed, {"ana": public}) == (
        "its signature does not fit its content"
    )


def test_what_is_wrong_with_a_signature(ana: tuple[Path, str], tmp_path: Path) -> None:
    path, public = ana
    good = signing.Signer(path)(ENTRY)
    ben = signing.generate(tmp_path / "ben.pem")
    by_ben = signing.Signer(tmp_path / "ben.pem")(ENTRY)
    for signature, keys, sentence in (
        (None, {"ana": public}, "it is not signed"),
        (good, {"ben": ben}, "registry.keys has no key of its actor 'ana'"),
        (by_ben, {"ana": public, "ben": ben}, "it is signed by a key that is not ana's"),
        (Signature(public, "AAAA"), {"ana": public}, "its signature does not fit its content"),
        (Signature(public, "no base64!"), {"ana": public}, "its signature does not fit its"),
        (Signature("short", good.value), {"ana": "short"}, "its signature does not fit its"),
    ):
        assert str(signing.problem(ENTRY, signature, keys)).startswith(sentence)


def test_who_signs(ana: tuple[Path, str], tmp_path: Path) -> None:
    path, public = ana
    assert signing.signer_of("ana", {}, None) is None
    assert signing.signer_of("zoe", {}, str(path)) is not None
    found = signing.signer_of("ANA", {"ana": public}, str(path))
    assert found is not None
    assert found.public == public
    signing.generate(tmp_path / "ben.pem")
    for actor, at, sentence in (
        ("ben", str(path), "registry.keys of params.yaml has no key of 'ben'"),
        ("ana", None, "asks for ana's key, and UNDERSTUDY_KEY names no file"),
        ("ana", str(tmp_path / "ben.pem"), "is not ana's of registry.keys"),
        ("ana", str(tmp_path / "none.pem"), r"cannot be read \(No such file"),
    ):
        with pytest.raises(KeyRefused, match=sentence):
            signing.signer_of(actor, {"ana": public}, at)


def test_files_that_are_no_ed25519_key(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no key")
    with pytest.raises(KeyRefused, match="is not a private key in PEM without a password"):
        signing.Signer(text)
    other = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    text.write_bytes(other)
    with pytest.raises(KeyRefused, match="is not an Ed25519 key"):
        signing.Signer(text)
    with pytest.raises(KeyRefused, match="cannot be written"):
        signing.generate(Path("/proc/none/key.pem"))


def test_verify_demands_signatures_from_the_first_one_on(
    store: Any, tiny: Tiny, tmp_path: Path, ana: tuple[Path, str]
) -> None:
    path, public = ana
    signer = signing.Signer(path)
    keys = {"ana": public}

    def check(**options: Any) -> verify.Report:
        where = tmp_path / f"check-{len(list(tmp_path.iterdir()))}"
        return verify.verify(store, "m", keys=keys, folder=where, artifacts=False, **options)

    def enter(name: str, wish: Wish) -> None:
        where = tmp_path / name
        where.mkdir()
        register.register_run(store, "m", tiny.runs[name], wish=wish, folder=where)

    enter("good", Wish("ben"))
    assert [f.sentence for f in check().findings] == [
        "registry.keys of params.yaml names keys, and no entry is signed"
    ]
    enter("better", Wish("ana", sign=signer))
    report = check()
    assert (report.sound, report.signed) == (True, 1)
    assert report.notes == ("1 entries were written before the first signed one",)
    promote.promote(
        store, "m", 1, to=Stage.PRODUCTION, params=GateParams(skip=GATES), wish=Wish("ana"),
        folder=tmp_path / "keys",
    )  # fmt: skip
    assert [f.sentence for f in check().findings] == ["entry 3: it is not signed"]
    unheld = verify.verify(store, "m", keys={}, folder=tmp_path, artifacts=False)
    assert unheld.sound
    assert "1 entries are signed, and registry.keys of params.yaml names no key" in unheld.notes[0]


def test_a_signature_that_was_removed_is_missed_even_from_the_first_signed_entry(
    store: Any, tiny: Tiny, tmp_path: Path, ana: tuple[Path, str]
) -> None:
    path, public = ana
    signer = signing.Signer(path)
    for name, wish in (("good", Wish("ben")), ("better", Wish("ana", sign=signer))):
        (tmp_path / name).mkdir()
        where = tmp_path / name
        register.register_run(store, "m", tiny.runs[name], wish=wish, folder=where)
    (tmp_path / "same").mkdir()
    where = tmp_path / "same"
    register.register_run(
        store, "m", tiny.runs["same"], wish=Wish("ana", sign=signer), folder=where
    )
    number, text = store.entries("m")[1]
    entry, signature = ledger.parse_signed(text)
    assert signature is not None
    assert entry.evidence["signed_by"] == public
    store._client.set_model_version_tag(
        "m.ledger", str(number), "understudy.entry", ledger.render(entry, None)
    )
    fresh = Store(store.uri)
    report = verify.verify(fresh, "m", keys={"ana": public}, folder=tmp_path, artifacts=False)
    assert [f.sentence for f in report.findings] == [
        "entry 2: it was signed, and its signature was removed"
    ]
