"""What the owner of a list demands of it: attributes, expressions over them, rules of a list."""
