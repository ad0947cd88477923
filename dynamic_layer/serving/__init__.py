"""Requests in, ranked lists out, and why an item stands in one."""
