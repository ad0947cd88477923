"""Whether what is served is good: asked before it is learned from, and at the gate."""
