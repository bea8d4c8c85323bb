"""The click journal: what was clicked and what was answered, written so that no crash can spoil it."""

from maskloop.journal.entry import MAX_LINE, Box, Entry, Outcome, decode_entry, encode_entry, mask_sha256
from maskloop.journal.files import Reading, create_segment, decode_lines, read_after, read_entries

__all__ = [
    "MAX_LINE",
    "Box",
    "Entry",
    "Outcome",
    "Reading",
    "create_segment",
    "decode_entry",
    "decode_lines",
    "encode_entry",
    "mask_sha256",
    "read_after",
    "read_entries",
]
