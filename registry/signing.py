"""Ed25519 keys: who signs a ledger entry, and whether a signature is theirs.

A private key is a PEM file (PKCS 8) that UNDERSTUDY_KEY names; the public ones stand in
params.yaml, `registry.keys`, one for each actor, as base64 of their 32 bytes (RFC 8032).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from registry.errors import KeyRefused
from registry.ledger import Entry, Signature, same

_PURPOSE = b"understudy ledger entry\n"
"""Signed before the hash, so that a signature given for something else proves nothing here."""


def generate(path: Path) -> str:
    """Write a new private key to `path`, readable by its owner only; returns the public one.

    Raises KeyRefused where a file is there already.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyRefused(f"{path} is there already, and a key is never overwritten") from None
    except OSError as error:
        raise KeyRefused(f"{path} cannot be written ({error.strerror})") from None
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return _text(key.public_key())


class Signer:
    """A private key, read once."""

    def __init__(self, path: Path) -> None:
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise KeyRefused(f"{path} cannot be read ({error.strerror})") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyRefused(f"{path} is not a private key in PEM without a password") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused(f"{path} is not an Ed25519 key")
        self._key = key
        self.public = _text(key.public_key())

    def __call__(self, entry: Entry) -> Signature:
        """The signature of an entry."""
        signed = self._key.sign(_PURPOSE + entry.hash.encode())
        return Signature(self.public, base64.b64encode(signed).decode())


def signer_of(actor: str, keys: Mapping[str, str], path: str | None) -> Signer | None:
    """Who signs for an actor; None where neither params.yaml nor the environment asks for it.

    Raises KeyRefused where params.yaml names keys and the actor's own is not at hand.
    """
    if not keys:
        return Signer(Path(path).expanduser()) if path else None
    wanted = public_of(actor, keys)
    if wanted is None:
        raise KeyRefused(f"registry.keys of params.yaml has no key of {actor!r}")
    if not path:
        raise KeyRefused(
            f"registry.keys of params.yaml asks for {actor}'s key, and UNDERSTUDY_KEY names no file"
        )
    found = Signer(Path(path).expanduser())
    if found.public != wanted:
        raise KeyRefused(f"the key in {path} is not {actor}'s of registry.keys")
    return found


def public_of(actor: str, keys: Mapping[str, str]) -> str | None:
    """The public key of an actor, however the name is spelled."""
    return next((key for name, key in keys.items() if same(name) == same(actor)), None)


def problem(entry: Entry, signature: Signature | None, keys: Mapping[str, str]) -> str | None:
    """Why this signature does not prove that the entry is its actor's, or None."""
    wanted = public_of(entry.actor, keys)
    if signature is None:
        return "it is not signed"
    if wanted is None:
        return f"registry.keys has no key of its actor {entry.actor!r}"
    if signature.key != wanted:
        return f"it is signed by a key that is not {entry.actor}'s"
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(signature.key, validate=True))
        public.verify(
            base64.b64decode(signature.value, validate=True), _PURPOSE + entry.hash.encode()
        )
    except (InvalidSignature, ValueError, binascii.Error):
        return "its signature does not fit its content"
    return None


def _text(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(raw).decode()
