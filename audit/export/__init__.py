"""The ledger in the formats of others' tools, a module a format.

Each gives the same bytes for the same records: no clock, no chance, no host. A format that has no
place for something leaves it out; its module says what. The ledger stays the evidence: an export is
neither signed nor read back.
"""
