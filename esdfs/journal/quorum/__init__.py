"""The quorum's rules: who leads, and what is committed. Pure: no clock, no chance, no I/O.

Pull-Raft in the shape of KRaft (KIP-595, KIP-853, KIP-996): followers fetch, and the position a follower
fetches from is its acknowledgement. Read ``DESIGN.md`` first, then ``node``.
"""
