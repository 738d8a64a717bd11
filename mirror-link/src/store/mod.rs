//! What a group keeps in files: its record, and the writes that memory has no room for.
