"""The capstone: a domain of its own, 64 kB for the adapter's file, and a page."""
