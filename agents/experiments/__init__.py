"""Assignment of users to arms, and decisions on canaries."""
