"""What earlier versions wrote, and tests that this version reads it."""
