"""Decisions: values in, values out. Nothing here reads, writes, waits or starts a process; a test holds it to that."""
