"""The two towers, their loss, and the user tower that reads histories in order."""
