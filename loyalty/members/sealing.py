"""How personal data lie in the database: AES-256-GCM (NIST SP 800-38D) under a key of the member's own.

    data key     32 random bytes per member, wrapped by the tenant's key; erasing it erases the person;
                 its row says which version of the root that key comes from
    sealed       0x01 | nonce, 12 random bytes | ciphertext | tag, 16 bytes
    bound to     tenant | programme | member | what it is: moved to another row it does not open
    index        HMAC-SHA-256 under the tenant's index key: equal facts of two tenants are different there

A data key seals a few dozen things in a member's life, so random 96-bit nonces never meet (the bound is
2^32, ibid. §8.3); a tenant's wrapping key seals one thing per member.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from loyalty.errors import LoyaltyError
from loyalty.keys import KEY_BYTES, Purpose, Ring, Secret
from pay_ivr.ids import ALPHABET, LETTERS

FORM = b"\x01"
"""Of what is sealed; another cipher would get another byte."""
NONCE_BYTES = 12
TAG_BYTES = 16
SEALED_BYTES_MIN = len(FORM) + NONCE_BYTES + TAG_BYTES

Bound = tuple[str, ...]
"""Where a sealed thing belongs: tenant, programme, member, name."""


def sealed(key: Secret, bound: Bound, octets: bytes) -> bytes:
    """The octets, readable only with that key and in that place."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return FORM + nonce + AESGCM(key.reveal()).encrypt(nonce, octets, _place(bound))


def opened(key: Secret, bound: Bound, octets: bytes) -> bytes:
    """What was sealed; LoyaltyError("sealed_unreadable") for another key, another place or changed bytes."""
    nonce, rest = octets[1 : 1 + NONCE_BYTES], octets[1 + NONCE_BYTES :]
    if octets[:1] != FORM or len(octets) < SEALED_BYTES_MIN:
        raise _unreadable()
    try:
        return AESGCM(key.reveal()).decrypt(nonce, rest, _place(bound))
    except InvalidTag:
        raise _unreadable() from None


def _unreadable() -> LoyaltyError:
    return LoyaltyError("sealed_unreadable", "Sealed data do not open with the keys of this node.")


def new_data_key() -> Secret:
    """A fresh key for one member."""
    return Secret(secrets.token_bytes(KEY_BYTES))


def wrapped(ring: Ring, tenant: str, member_id: str, data_key: Secret) -> bytes:
    """The data key as it is stored, under the newest root."""
    return sealed(ring.derived(Purpose.WRAP, tenant), (tenant, member_id, "data_key"), data_key.reveal())


def unwrapped(ring: Ring, tenant: str, member_id: str, octets: bytes, version: int) -> Secret:
    """The data key of a member, from how it is stored and the version of the root that its row names."""
    wrapping = ring.derived(Purpose.WRAP, tenant, version)
    return Secret(opened(wrapping, (tenant, member_id, "data_key"), octets))


def blind_index(ring: Ring, tenant: str, *facts: str) -> str:
    """64 hexadecimal digits by which equal facts are found within one tenant: what is stored."""
    return _index(ring, ring.newest, tenant, facts)


def blind_indexes(ring: Ring, tenant: str, *facts: str) -> tuple[str, ...]:
    """The same under every version of the root: what is looked for."""
    return tuple(_index(ring, version, tenant, facts) for version in ring.versions)


def _index(ring: Ring, version: int, tenant: str, facts: tuple[str, ...]) -> str:
    return ring.derived(Purpose.INDEX, tenant, version).mac(_place(facts)).hex()


def derived_id(
    ring: Ring, tenant: str, purpose: Purpose, prefix: str, *facts: str, version: int | None = None
) -> str:
    """An id shaped like those of `pay_ivr.ids.new_id`, the same for the same facts and version."""
    number = int.from_bytes(ring.derived(purpose, tenant, version).mac(_place(facts)))
    letters = []
    for _ in range(LETTERS):  # 256 bits over 22 letters: the bias is below 2^-170
        number, letter = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[letter])
    return f"{prefix}_{''.join(letters)}"


def _place(facts: tuple[str, ...]) -> bytes:
    """Facts with their lengths before them: no two lists of facts have the same octets."""
    encoded = (fact.encode() for fact in facts)
    return b"".join(len(fact).to_bytes(4) + fact for fact in encoded)
