"""How many different ones there were, in 128 KB.

Linear counting: Whang, Vander-Zanden, Taylor, A linear-time probabilistic counting algorithm for database applications, ACM TODS 15 (2),
1990. Of m bits the share z that is still zero tells n = -m ln z: to one or two of a thousand, to 1 % of five million.
"""

import math
from collections.abc import Iterable

import msgspec

BITS = 1 << 20


class DistinctCount(msgspec.Struct):
    """Counts fingerprints (hexadecimal digits) that it has not seen before."""

    bits: bytearray = msgspec.field(default_factory=bytearray)
    """Empty until the first one."""
    set_bits: int = 0

    def add(self, fingerprint: str) -> None:
        """One more, or one again."""
        if not self.bits:
            self.bits = bytearray(BITS // 8)
        place, bit = divmod(int(fingerprint, 16) % BITS, 8)
        if not self.bits[place] >> bit & 1:
            self.bits[place] |= 1 << bit
            self.set_bits += 1

    def estimate(self) -> int:
        """How many different ones were added."""
        return round(-BITS * math.log((BITS - min(self.set_bits, BITS - 1)) / BITS))

    def with_others(self, fingerprints: Iterable[str]) -> "DistinctCount":
        """Of these as well."""
        both = DistinctCount(bytearray(self.bits), self.set_bits)
        for fingerprint in fingerprints:
            both.add(fingerprint)
        return both
