"""How fast the learners train, and against which programs."""
