"""How well a method worked, and how sure we are: detection metrics, steering scores, intervals."""
