"""SIP for this product and nothing else: codec, SDP, digest, transactions, dialogs, INVITE legs, transport.

RFC 3261 with RFC 3581, 6026, 8760 and, for media, RFC 3264 and 8866. Everything but `transport.py` is free
of sockets and clocks: bytes, events and `now` go in, messages come out. Nothing here imports anything of
ours from outside this folder.
"""
