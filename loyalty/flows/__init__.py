"""Loyalty's IVR flows: a file without `_` is a flow (`loyalty.<file>`), one with it is a part of flows."""
