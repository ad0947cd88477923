"""The ranking head: which items it looks at, what it reads of them, its network."""
