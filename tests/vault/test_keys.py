"""Keys: where they may lie, what is refused, what is derived, and that they never become text."""

import copy
import os
import pickle
import stat
from pathlib import Path

import pytest

from vault.fingerprint import VERSIONS_MAX
from vault.keys import (
    HMAC_BYTES,
    HMAC_NAME,
    SECRET_BYTES_MAX,
    Credentials,
    KeyFault,
    KeyFiles,
    Keys,
    Purpose,
    Secret,
    key_provider,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def put(folder: Path, name: str, octets: bytes, mode: int = 0o600) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    path.write_bytes(octets)
    path.chmod(mode)
    return path


def code_of(wrong: pytest.ExceptionInfo[KeyFault]) -> str:
    return wrong.value.code


def test_first_start_makes_the_root_key_for_us_alone(folder):
    """32 random bytes, file 0600, folder 0700; the second start reads the same ones."""
    keys = Keys(KeyFiles(folder))
    path = folder / f"{HMAC_NAME}.1"
    assert (0o700, 0o600) == (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode))
    assert HMAC_BYTES == len(path.read_bytes())
    again = Keys(KeyFiles(folder))
    assert keys.check_value(HMAC_NAME, 1) == again.check_value(HMAC_NAME, 1)


def test_a_secret_has_no_text_no_copy_and_no_equality():
    """Whatever a careless line does with it, the bytes stay inside."""
    secret = Secret(b"sk_of_a_test")
    assert "<secret>" == repr(secret) == str(secret) == f"{secret}"
    for careless in (pickle.dumps, copy.copy, copy.deepcopy, hash, lambda one: one == secret):
        with pytest.raises(TypeError):
            careless(secret)
    secret.wipe()
    assert bytes(len(secret)) == secret.reveal()


def test_versions_of_a_name_are_read_newest_first(folder):
    """A file without a number is version 0; the line's end is no part of the secret."""
    put(folder, "stripe.webhook", b"whsec_old\n")
    put(folder, "stripe.webhook.2", b"whsec_new\r\n")
    put(folder, "stripe.demo.payments.1", b"rk_demo")
    keys = Keys(KeyFiles(folder))
    assert [b"whsec_new", b"whsec_old"] == [s.reveal() for s in keys.secrets("stripe", "demo", "webhook")]
    assert b"rk_demo" == keys.secret("stripe", "demo", "payments").reveal()
    assert {"stripe.webhook": (0, 2), "stripe.demo.payments": (1,), HMAC_NAME: (1,)} == keys.versions()


def test_a_tenants_own_secret_comes_before_the_one_for_all(folder):
    """`PROVIDER.TENANT.ROLE` before `PROVIDER.ROLE`, also for a tenant whose name is a number."""
    put(folder, "stripe.payments", b"rk_all")
    put(folder, "stripe.2024.payments", b"rk_own")
    keys = Keys(KeyFiles(folder))
    assert b"rk_own" == keys.secret("stripe", "2024", "payments").reveal()
    assert b"rk_all" == keys.secret("stripe", "demo", "payments").reveal()


def test_a_missing_secret_names_its_file(folder):
    """So that the operator knows what to put where."""
    with pytest.raises(KeyFault, match=r"keys/stripe\.demo\.webhook") as wrong:
        Keys(KeyFiles(folder)).secret("stripe", "demo", "webhook")
    assert "key_missing" == code_of(wrong)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_touch_is_refused(folder, mode):
    """Any right of group or others is one too many; the sentence says what to do."""
    put(folder, "stripe.payments", b"rk_of_a_test", mode)
    with pytest.raises(KeyFault, match="chmod") as wrong:
        Keys(KeyFiles(folder))
    assert "key_unsafe" == code_of(wrong)
    assert "rk_of_a_test" not in str(wrong.value)


def test_links_devices_and_foreign_files_are_refused(folder, tmp_path):
    """A symbolic link, a named pipe and somebody else's file are no keys."""
    secret = put(tmp_path / "elsewhere", "secret", b"rk_x")
    folder.mkdir(mode=0o700)
    for spoil in (
        lambda path: path.symlink_to(secret),
        lambda path: os.mkfifo(path, 0o600),
        lambda path: (put(folder, path.name, b"rk_x"), os.chown(path, 4242, 4242)),
        lambda path: path.mkdir(mode=0o700),
    ):
        path = folder / "stripe.payments"
        spoil(path)
        with pytest.raises(KeyFault) as wrong:
            KeyFiles(folder).read("stripe.payments", 0)
        assert "key_unsafe" == code_of(wrong)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_a_folder_that_others_may_enter_is_refused(folder):
    """The folder is checked like a file."""
    folder.mkdir(mode=0o755)
    with pytest.raises(KeyFault) as wrong:
        KeyFiles(folder)
    assert "key_unsafe" == code_of(wrong)


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("stripe.payments", b""),
        ("stripe.payments", b"x" * (SECRET_BYTES_MAX + 1)),
        (f"{HMAC_NAME}.1", b"x" * (HMAC_BYTES - 1)),
    ],
)
def test_a_key_of_the_wrong_size_is_refused(folder, name, octets):
    """Empty, far too long, or a root key of another length."""
    put(folder, name, octets)
    with pytest.raises(KeyFault) as wrong:
        Keys(KeyFiles(folder))
    assert "key_malformed" == code_of(wrong)


def test_more_versions_than_may_be_valid_are_refused(folder):
    """Each costs a check."""
    for version in range(VERSIONS_MAX + 1):
        put(folder, f"stripe.webhook.{version + 1}", b"whsec")
    with pytest.raises(KeyFault) as wrong:
        Keys(KeyFiles(folder))
    assert "keys_too_many" == code_of(wrong)


def test_files_that_are_no_keys_are_left_alone(folder):
    """Editors' backups, capitals and what waits as `.next`."""
    for name in ("stripe.payments~", "README", "stripe.webhook.next", ".hidden", "a.b.c.d.e"):
        put(folder, name, b"x")
    assert {HMAC_NAME} == set(Keys(KeyFiles(folder)).versions())


def test_systemd_credentials_come_first_and_are_only_read(tmp_path):
    """What the unit hands over is not changed by us; our own folder takes the rest."""
    put(tmp_path / "credentials", "stripe.payments", b"rk_unit", 0o440)
    keys = Keys(key_provider(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}))
    assert b"rk_unit" == keys.secret("stripe", "demo", "payments").reveal()
    assert (tmp_path / "keys" / f"{HMAC_NAME}.1").exists()
    for act in (keys.place.store, Credentials(tmp_path / "credentials").store):
        with pytest.raises(KeyFault) as wrong:
            act("stripe.payments", 1, Secret(b"x"))
        assert "key_source_read_only" == code_of(wrong)
    for refuse in (keys.place.take_next, keys.place.remove):
        with pytest.raises(KeyFault):
            refuse("stripe.payments", 0)


def test_an_existing_version_is_never_overwritten(folder):
    """Two rotations at once: one of them fails, no key is lost."""
    files = KeyFiles(folder)
    files.store("stripe.payments", 1, Secret(b"first"))
    with pytest.raises(KeyFault):
        files.store("stripe.payments", 1, Secret(b"second"))
    assert b"first" == files.read("stripe.payments", 1).reveal()


@pytest.mark.parametrize("name", ["../x", "a/b", "", "vault-hmac.1", "A", "a..b", "stripe.payments\n"])
def test_a_name_that_is_a_path_is_refused(folder, name):
    """Names come over the door, too."""
    files = KeyFiles(folder)
    for act in (lambda: files.read(name, 1), lambda: files.remove(name, 1), lambda: files.take_next(name, 1)):
        with pytest.raises(KeyFault):
            act()


def test_a_key_removed_is_gone_and_may_be_removed_again(folder):
    """Overwritten, unlinked; the second time is quiet."""
    files = KeyFiles(folder)
    files.store("stripe.payments", 1, Secret(b"first"))
    other = os.open(folder / "stripe.payments.1", os.O_RDONLY)
    files.remove("stripe.payments", 1)
    files.remove("stripe.payments", 1)
    assert b"\0" * 5 == os.read(other, 100)
    os.close(other)
    assert {} == files.versions()


def test_derived_keys_differ_by_purpose_tenant_and_version(folder):
    """No two of them are alike, none is the root, and each is the same tomorrow."""
    put(folder, f"{HMAC_NAME}.1", bytes(range(HMAC_BYTES)))
    put(folder, f"{HMAC_NAME}.2", bytes(range(1, HMAC_BYTES + 1)))
    keys = Keys(KeyFiles(folder))
    made = [
        (version, secret.reveal())
        for purpose in Purpose
        for tenant in ("demo", "other")
        for version, secret in keys.derived(purpose, tenant)
    ]
    assert len(Purpose) * 4 == len({octets for _, octets in made} | {bytes(range(HMAC_BYTES))}) - 1
    assert [2, 1] == [version for version, _ in made[:2]]
    assert made[0][1] == keys.derived(Purpose.FINGERPRINT, "demo")[0][1].reveal()


def test_derivation_follows_rfc_5869(folder):
    """Against extract and expand written out with HMAC alone."""
    import hmac

    root = bytes(range(HMAC_BYTES))
    put(folder, f"{HMAC_NAME}.1", root)
    extracted = hmac.digest(bytes(32), root, "sha256")
    expected = hmac.digest(extracted, b"pay-ivr/fingerprint/demo\x01", "sha256")
    assert expected == Keys(KeyFiles(folder)).derived(Purpose.FINGERPRINT, "demo")[0][1].reveal()
