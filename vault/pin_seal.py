"""A sealed PIN: what a browser encrypts for a cell, so that no server in between can read it.

RSA-OAEP with SHA-256 (RFC 8017 §7.1) under a 3072-bit key of the vault, over the challenge's 16 bytes and,
for every field of the purpose in its order, one byte of length and that many ASCII digits. Only a cell opens
it: the private key comes to it in one message of bytes, past the spawner, and dies with it.
"""

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from vault.card import SecretDigits
from vault.door import PinPurpose
from vault.pin_capture import ORDER, PinDigits

SEAL_MARK = b"\x04"
"""First byte of the message with challenge, blob and private key."""
KEY_BITS = 3072
"""BSI TR-02102-1: for use beyond 2022."""
BLOB_BYTES = KEY_BITS // 8
CHALLENGE_BYTES = 16
_ASCII_ZERO = 48


def seal_message(challenge: bytes, blob: bytes, key: bytes) -> bytes:
    """What the broker sends the cell; `key` in DER (PKCS 8)."""
    return SEAL_MARK + challenge + blob + key


def unseal(message: bytes, purpose: PinPurpose, into: PinDigits) -> None:
    """The digits of every field; ValueError when the blob is broken, foreign, old, or of another form."""
    rest = memoryview(message)[len(SEAL_MARK) :]
    challenge, blob = rest[:CHALLENGE_BYTES], rest[CHALLENGE_BYTES : CHALLENGE_BYTES + BLOB_BYTES]
    # Whether the key is one was checked when the broker read it: a second time costs more than the hash.
    der = bytes(rest[CHALLENGE_BYTES + BLOB_BYTES :])
    key = _private(load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True))
    plain = memoryview(key.decrypt(bytes(blob), _padding()))
    if plain[:CHALLENGE_BYTES] != challenge:
        raise ValueError
    plain = plain[CHALLENGE_BYTES:]
    for field in ORDER[purpose]:
        plain = _filled(into.of(field), plain)
    if len(plain) > 0:
        raise ValueError


def _filled(digits: SecretDigits, plain: memoryview) -> memoryview:
    """Takes one field off the front; what is left. ValueError for anything but digits."""
    if len(plain) == 0 or len(plain) <= plain[0]:
        raise ValueError
    length = plain[0]
    if not all(digits.append(octet - _ASCII_ZERO) for octet in plain[1 : 1 + length]):
        raise ValueError
    return plain[1 + length :]


def make_key() -> bytes:
    """A new private key as PEM (PKCS 8); takes a second or so of one core."""
    key = generate_private_key(65537, KEY_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key(pem: bytes) -> bytes:
    """SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of a private key."""
    return _of_pem(pem).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def private_key(pem: bytes) -> bytes:
    """The private key as a cell wants it, in DER; ValueError when it is none of ours."""
    return _of_pem(pem).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _of_pem(pem: bytes) -> RSAPrivateKey:
    return _private(load_pem_private_key(pem, None))


def _private(key: object) -> RSAPrivateKey:
    if not isinstance(key, RSAPrivateKey) or key.key_size != KEY_BITS:
        raise ValueError
    return key


def _padding() -> OAEP:
    return OAEP(MGF1(SHA256()), SHA256(), None)
