"""Points become something: rewards, their limits, voucher codes, the steps of a redemption, its message."""
