"""Demo, self-test and proof: phones of our own, evidence from foreign sockets, pictures.

Trusts nothing of what it proves: its codec, tones and packets are its own, and it talks to a node only as a
telephone, a browser or an auditor would.
"""
