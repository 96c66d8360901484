"""Simulations that prove the vault's rules: other parties as pure state machines, driven by a seed.

Nothing in here runs in a node that serves calls.
"""
