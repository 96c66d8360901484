"""The root key: made once, nobody else's to read, split by purpose and tenant, mute about itself."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from loyalty.keys import FIRST, KEY_BYTES, KeyFault, Keys, Purpose, Secret, file_name

FILE_NAME = file_name(FIRST)


def test_the_first_start_makes_a_key_that_only_we_can_read(short_dir: Path):
    """Folder 0700, file 0600, 32 bytes, nothing left beside it."""
    Keys.open(short_dir, {})
    path = short_dir / "keys" / FILE_NAME
    assert 0o600 == path.stat().st_mode & 0o777
    assert 0o700 == path.parent.stat().st_mode & 0o777
    assert KEY_BYTES == path.stat().st_size
    assert [path] == list(path.parent.iterdir())


def test_the_second_start_reads_the_same_key(short_dir: Path):
    """Derived keys are the same in every process of the node."""
    derived = [Keys.open(short_dir, {}).ring().derived(Purpose.INDEX, "sunny").mac(b"x") for _ in range(2)]
    assert derived[0] == derived[1]


def test_purposes_and_tenants_have_keys_of_their_own(short_dir: Path):
    """No two of them share one."""
    keys = Keys.open(short_dir, {}).ring()
    macs = {keys.derived(purpose, tenant).mac(b"x") for purpose in Purpose for tenant in ("sunny", "rainy")}
    assert 2 * len(Purpose) == len(macs)


def test_two_processes_that_start_at_once_share_one_key(short_dir: Path):
    """Whoever comes second reads the file of the first."""
    program = (
        "import sys; from pathlib import Path; from loyalty.keys import Keys, Purpose;"
        "print(Keys.open(Path(sys.argv[1]), {}).ring().derived(Purpose.INDEX, 't').mac(b'x').hex())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(short_dir)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert 1 == len({process.communicate(timeout=30)[0] for process in started})


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(short_dir: Path, mode: int):
    """The sentence names the file and the cure."""
    Keys.open(short_dir, {})
    (short_dir / "keys" / FILE_NAME).chmod(mode)
    with pytest.raises(KeyFault, match=r"LOYALTY\.1: others may read it"):
        Keys.open(short_dir, {})


def test_a_folder_that_others_may_enter_is_refused(short_dir: Path):
    """They could put a key of their own there."""
    Keys.open(short_dir, {})
    (short_dir / "keys").chmod(0o755)
    with pytest.raises(KeyFault, match="keys: others may read it"):
        Keys.open(short_dir, {})


def test_a_link_is_refused(short_dir: Path):
    """Whoever may write the folder for a moment cannot lead us to another file."""
    Keys.open(short_dir, {})
    path = short_dir / "keys" / FILE_NAME
    path.rename(short_dir / "elsewhere")
    path.symlink_to(short_dir / "elsewhere")
    with pytest.raises(KeyFault) as fault:
        Keys.open(short_dir, {})
    assert "key_unsafe" == fault.value.code


@pytest.mark.parametrize("octets", [b"", b"short", bytes(33)])
def test_a_key_of_another_length_is_refused(short_dir: Path, octets: bytes):
    """Half a copy is not used as a key."""
    (short_dir / "keys").mkdir(mode=0o700)
    path = short_dir / "keys" / FILE_NAME
    path.touch(mode=0o600)
    path.write_bytes(octets)
    with pytest.raises(KeyFault) as fault:
        Keys.open(short_dir, {})
    assert "key_malformed" == fault.value.code


def test_systemd_hands_the_key_over(short_dir: Path):
    """A credential comes before our own folder, and none is made there."""
    credentials = short_dir / "credentials"
    credentials.mkdir()
    (credentials / FILE_NAME).write_bytes(bytes(range(KEY_BYTES)))
    (credentials / FILE_NAME).chmod(0o440)
    Keys.open(short_dir, {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert not (short_dir / "keys").exists()


def test_a_secret_has_no_text_copy_or_equality():
    """Neither a log, a pickle nor a comparison can tell what it is."""
    secret = Secret(b"0123456789abcdef0123456789abcdef")
    assert "<secret>" == repr(secret) == str(secret) == f"{secret}"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, lambda one: one == secret, lambda one: one != 1):
        with pytest.raises(TypeError):
            attempt(secret)
    with pytest.raises(TypeError):
        hash(secret)
    secret.wipe()
    assert bytes(32) == secret.reveal()


def test_a_version_that_comes_or_goes_is_seen_at_once(short_dir: Path):
    """By every process that looks at the folder; what is written is written under the newest."""
    keys, elsewhere = Keys.open(short_dir, {}), Keys.open(short_dir, {})
    first = keys.ring()
    keys.make(2)
    assert (2, (2, 1)) == (elsewhere.ring().newest, elsewhere.ring().versions)
    assert (
        first.derived(Purpose.WRAP, "t").reveal() == elsewhere.ring().derived(Purpose.WRAP, "t", 1).reveal()
    )
    assert first.derived(Purpose.WRAP, "t").reveal() != elsewhere.ring().derived(Purpose.WRAP, "t").reveal()
    assert first.check_value(1) != elsewhere.ring().check_value(2) == keys.ring().check_value(2)
    keys.destroy(1)
    assert (2,) == elsewhere.ring().versions == Keys.open(short_dir, {}).ring().versions
    with pytest.raises(KeyFault) as fault:
        elsewhere.ring().derived(Purpose.WRAP, "t", 1)
    assert "key_missing" == fault.value.code
    keys.destroy(1)  # again is no error


def test_keys_of_the_unit_are_only_read(short_dir: Path):
    """All versions that it hands over are valid; none is made or destroyed."""
    for version in (1, 2):
        (short_dir / file_name(version)).write_bytes(bytes([version]) * KEY_BYTES)
        (short_dir / file_name(version)).chmod(0o440)
    keys = Keys.open(short_dir / "data", {"CREDENTIALS_DIRECTORY": str(short_dir)})
    assert (2, 1) == keys.ring().versions
    for act in (keys.make, keys.destroy):
        with pytest.raises(KeyFault) as fault:
            act(1)
        assert "key_source_read_only" == fault.value.code


def test_a_folder_that_has_lost_its_keys_says_so(short_dir: Path):
    """Nobody is searched for under no key at all, and no new one is made while the node runs."""
    keys, folder = Keys.open(short_dir, {}), short_dir / "keys"
    for lose in ((folder / FILE_NAME).unlink, folder.rmdir):
        lose()
        with pytest.raises(KeyFault) as fault:
            keys.ring()
        assert "key_missing" == fault.value.code
