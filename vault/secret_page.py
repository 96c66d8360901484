"""One page of memory for secrets: memfd_secret where the kernel has it, a locked private page where not.

memfd_secret(2) pages are unreadable for every other process, root included, and are never swapped or dumped;
fork hands them on, so a page is made by the process that uses it and by nobody before.
"""

import ctypes
import errno
import mmap
from contextlib import suppress

from vault import kernel

PAGE_BYTES = mmap.PAGESIZE
"""A cell holds 29 secret bytes; one page is the least that can be mapped."""


class SecretPage:
    """A page handed out in slices; lives as long as its process, because views of it may.

    `sealed` asks for memfd_secret; without it, or where the kernel says no, it is an ordinary page, locked
    and kept out of dumps and children.
    """

    __slots__ = ("_bytes", "_free_from", "refusal", "sealed", "unswappable")

    def __init__(self, *, sealed: bool = True) -> None:
        self.sealed = False
        """True: the page is memfd_secret."""
        self.unswappable = False
        """True: the page can never be on a disk."""
        self.refusal = errno.ENOSYS
        """Why it is not sealed, as an errno; meaningless when it is."""
        self._free_from = 0
        address = (self._map_sealed() if sealed else None) or self._map_plain()
        self._bytes = (ctypes.c_ubyte * PAGE_BYTES).from_address(address)

    def _map_sealed(self) -> int | None:
        try:
            address = kernel.map_secret(PAGE_BYTES)
        except OSError as error:
            self.refusal = error.errno or errno.ENOSYS
            return None
        self.sealed = self.unswappable = True
        return address

    def _map_plain(self) -> int:
        address = kernel.map_anonymous(PAGE_BYTES)
        with suppress(OSError):
            kernel.advise(address, PAGE_BYTES, kernel.MADV_DONTDUMP)
            kernel.advise(address, PAGE_BYTES, kernel.MADV_WIPEONFORK)
            kernel.lock(address, PAGE_BYTES)
            self.unswappable = True
        return address

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, zero and writable; MemoryError when the page is used up."""
        if self._free_from + size > PAGE_BYTES:
            raise MemoryError
        start, self._free_from = self._free_from, self._free_from + size
        return memoryview(self._bytes).cast("B")[start : self._free_from]

    def wipe(self) -> None:
        """Zeroes the whole page, what is in use included."""
        ctypes.memset(ctypes.addressof(self._bytes), 0, PAGE_BYTES)
