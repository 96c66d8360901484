"""What a provider may keep of a charge, as agreed with the tenant: by this a stated fee is right or wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BASIS_POINTS = 10_000


@dataclass(frozen=True)
class FeeTerms:
    """The price of a charge in one currency at one provider."""

    basis_points: int
    """Hundredths of a percent of the gross."""
    fixed_minor: int = 0

    def fee_minor(self, gross_minor: int) -> int:
        """The agreed fee of a charge, half a minor unit rounded up."""
        return (gross_minor * self.basis_points + BASIS_POINTS // 2) // BASIS_POINTS + self.fixed_minor


Fees = Mapping[str, Mapping[str, FeeTerms]]
"""Provider -> currency -> terms; what is missing is not checked."""
NO_FEES: Fees = MappingProxyType({})
