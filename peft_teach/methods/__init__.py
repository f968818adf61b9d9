"""One file a method; each opens like the key page of its paper."""
