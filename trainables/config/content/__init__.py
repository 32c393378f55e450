"""What a user-supplied function or class is made of, so that it can be hashed: code, values, and whose they are."""
